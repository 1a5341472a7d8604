"""Size budgets of the house: files of at most 300 lines, functions of at most 40 lines below their docstring."""

import ast
import sys
from collections.abc import Iterator
from pathlib import Path

MAX_FILE, MAX_FUNCTION = 300, 40


def oversized(root: Path) -> Iterator[str]:
    """One line of report for every file and function over its budget, below folder `root`."""
    for path in sorted(root.rglob("*.py")):
        text = path.read_text(encoding="utf-8")
        if (length := text.count("\n")) > MAX_FILE:
            yield f"{path}: {length} lines; a file has at most {MAX_FILE}"
        for node in ast.walk(ast.parse(text)):
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef) and node.end_lineno:
                first = node.body[ast.get_docstring(node) is not None and len(node.body) > 1].lineno
                if (length := node.end_lineno - first + 1) > MAX_FUNCTION:
                    yield f"{path}:{node.lineno}: {node.name} has {length} lines; at most {MAX_FUNCTION}"


if __name__ == "__main__":
    sys.exit("\n".join(oversized(Path(__file__).parent.parent / "src")) or None)
