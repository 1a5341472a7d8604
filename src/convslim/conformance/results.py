"""The outcome of a run as data, with what it depends on."""

from __future__ import annotations

import json
import platform
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import date
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from convslim.conformance.cases import FAMILIES
from convslim.conformance.referee import Judgment, Verdict
from convslim.errors import ArtifactError

FAILURES = (Verdict.WRONG, Verdict.CRASH, Verdict.TIMEOUT)
PACKAGES = ("convslim", "torch", "torch-pruning")


@dataclass(frozen=True)
class Results:
    """Judgments by tool and case.

    Attributes:
        judgments: By tool, then by case.
        setting: The day, and the versions of Python and of the packages concerned.
    """

    judgments: Mapping[str, Mapping[str, Judgment]]
    setting: Mapping[str, str]

    def counts(self, tool: str, family: str | None = None) -> Counter[Verdict]:
        """How often each verdict was given, in all cases or in one family."""
        names = None if family is None else {case.name for case in FAMILIES[family]}
        judgments = self.judgments[tool].items()
        return Counter(judgment.verdict for name, judgment in judgments if names is None or name in names)

    @property
    def failed(self) -> bool:
        """True if any tool was wrong, crashed or did not come back."""
        return any(self.counts(tool)[verdict] for tool in self.judgments for verdict in FAILURES)

    def to_json(self) -> str:
        """Everything, as JSON text."""
        tools = {
            tool: {name: {"verdict": found.verdict.value, "reason": found.reason} for name, found in cases.items()}
            for tool, cases in self.judgments.items()
        }
        return json.dumps({"setting": dict(self.setting), "tools": tools}, indent=1) + "\n"

    @classmethod
    def load(cls, path: Path) -> Results:
        """Read what :meth:`to_json` wrote.

        Raises:
            ArtifactError: If the file cannot be read or holds something else.
        """
        try:
            data: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
            tools = {
                str(tool): {
                    str(name): Judgment(Verdict(row["verdict"]), str(row["reason"])) for name, row in rows.items()
                }
                for tool, rows in data["tools"].items()
            }
            return cls(tools, {str(name): str(value) for name, value in data["setting"].items()})
        except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
            raise ArtifactError(
                f"{path} is no record of a conformance run: {type(error).__name__}: {error}."
            ) from error


def setting() -> dict[str, str]:
    """The day, and the versions of what a run depends on."""
    found = {"date": date.today().isoformat(), "python": platform.python_version()}
    for package in PACKAGES:
        try:
            found[package] = version(package)
        except PackageNotFoundError:
            found[package] = "missing"
    return found
