"""The coverage table from its results: counts against the aims, then one row per network."""

from __future__ import annotations

import platform
from collections import Counter
from collections.abc import Callable, Sequence
from importlib.metadata import PackageNotFoundError, version
from statistics import median
from typing import Any

Row = dict[str, Any]
SLOW = 20.0
MEMORY = 1.5
CUT = 0.4
OUTPUT = "the channels are an output of the network"
STAGES = ("trace", "score", "plan", "remove")


def seconds(row: Row) -> float:
    """From the network to the proven smaller one."""
    return float(sum(row.get(f"{stage}_s", 0.0) for stage in STAGES))


def memory(row: Row) -> float:
    """Most memory of tracing and removing, the network's weights included, as a multiple of that of one pass."""
    grown = max(row.get("trace_mib", 0.0), row.get("remove_mib", 0.0))
    return float((row["weights_mib"] + grown) / (row["weights_mib"] + row["forward_mib"]))


def cut(row: Row) -> float:
    """The fraction of the MACs that half of the channels cost."""
    return 1 - row["macs_left"] / row["macs"] if row.get("macs") else 0.0


def verdict(row: Row) -> str:
    """One word: `ok`, or what is wrong first."""
    error = row.get("error")
    if error and error["stage"] == "build":
        return "not built"
    if error and error["type"] == "Killed":
        return "killed"
    if error and (error["type"] in ("Died", "MemoryError") or "allocate memory" in error["message"]):
        return "memory"
    if error and error["type"] == "VerificationError":
        return "wrong"
    if error:
        return f"fails in {error['stage']}"
    if row["changed_by_trace"] or row["changed_by_remove"]:
        return "changed"
    if cut(row) < CUT:
        return "pinned"
    return "slow" if seconds(row) > SLOW else "ok"


def proven(row: Row) -> bool:
    """Masked equals removed, on a graph of any kind."""
    return "relative_error" in row


def render(rows: Sequence[Row], missing: Sequence[str], command: str) -> str:
    """The whole page in Markdown."""
    built = [row for row in rows if verdict(row) != "not built"]
    parts = [INTRODUCTION.format(number=len(built), command=command), _aims(built), _verdicts(rows), _reasons(built)]
    if missing:
        parts.append(f"Not measured yet: {len(missing)} of {len(rows) + len(missing)}, {missing[0]} for example.")
    parts += [COLUMNS, HEAD + "\n" + "\n".join(_line(row) for row in rows), _setting()]
    return "\n\n".join(parts) + "\n"


INTRODUCTION = """# Coverage of the channel engine

{number} networks, the smallest of every family of timm and torchvision (`coverage_models.txt`; how they were chosen:
`coverage_choose.py`). Each has seeded random weights of which none is constant, and runs in a process of its own. The
better half of the channels of **every** prunable group is kept, by the L1 norm; then the smaller network is compared
with the masked original, outputs and channels at every operation; then the caller's network (parameters, buffers,
hooks, training flags, attributes) and the random states are compared with those before.

    {command}"""

COLUMNS = """What the columns mean:

- *groups*: prunable of all groups of coupled channels. *pinned by*: the most frequent reason other than being an output
  of the network, and how many groups have it.
- *MACs*: of one image, before and after, in millions; layers and products of activations.
- *error*: largest difference between the masked original's and the smaller network's outputs, relative to the largest
  output. *exact*, or the number of *approximate* groups: their removal changes statistics over channels, and the masked
  original takes those over the kept channels.
- *way*: `class`, the user's own class with smaller tensors; `graph`, the exported graph with rewritten numbers.
- *seconds*: processor time of one thread: trace / score and plan / remove and prove; *forward*: one pass of the
  original.
- *MiB*: most memory beyond the network's own while tracing / removing; in brackets while one pass runs."""

HEAD = (
    "| network | input | groups | pinned by | MACs (M) | left | error | exact | way | seconds | forward | MiB | |\n"
    "| --- | --- | ---: | --- | ---: | ---: | ---: | --- | --- | ---: | ---: | ---: | --- |"
)


def _aims(rows: Sequence[Row]) -> str:
    def count(passes: Callable[[Row], bool]) -> str:
        number = sum(map(passes, rows))
        return f"{number} of {len(rows)} ({number / max(len(rows), 1):.1%})"

    finished = [row for row in rows if proven(row)]
    exact = sum(not row["approximate"] for row in finished)
    slowest = max(rows, key=seconds, default={"model": "–"})
    lines = [
        "| aim | found |",
        "| --- | --- |",
        f"| every network is traced | {count(lambda row: 'groups' in row)} |",
        f"| every result is proven equal to the masked original | {count(proven)}; {exact} exactly, "
        f"{len(finished) - exact} against renormalized statistics; largest error "
        f"{max((row['relative_error'] for row in finished), default=0.0):.0e} |",
        f"| 95 % lose at least 40 % of their MACs | {count(lambda row: proven(row) and cut(row) >= CUT)} |",
        f"| none takes more than 20 s | {count(lambda row: proven(row) and seconds(row) <= SLOW)}; median "
        f"{median(map(seconds, finished or rows)):.1f} s, most {seconds(slowest):.1f} s ({slowest['model']}) |",
        f"| memory at most {MEMORY} times that of a forward pass, weights included | "
        f"{count(lambda row: proven(row) and memory(row) <= MEMORY)}; median "
        f"{median(map(memory, finished or rows)):.1f} times |",
        f"| the caller's network and process are as before | {count(_untouched)} |",
        "",
        "For comparison: of 300 networks of these two libraries Torch-Pruning 1.6.1 left 196 working (measured apart).",
    ]
    return "\n".join(lines)


def _untouched(row: Row) -> bool:
    return proven(row) and not row["changed_by_trace"] and not row["changed_by_remove"]


def _verdicts(rows: Sequence[Row]) -> str:
    counts = Counter(map(verdict, rows))
    return "Results: " + ", ".join(f"{number} {name}" for name, number in counts.most_common()) + "."


def _reasons(rows: Sequence[Row]) -> str:
    """What pins groups of networks that keep too many of their MACs."""
    held: Counter[str] = Counter()
    for row in rows:
        if proven(row) and cut(row) < CUT:
            held.update([_main_reason(row)[0] or "nothing"])
    if not held:
        return "No network keeps more than 60 % of its MACs."
    listed = "\n".join(f"- {number} × {reason}" for reason, number in held.most_common())
    return f"Most frequent reasons in networks that keep more than 60 % of their MACs:\n\n{listed}"


def _main_reason(row: Row) -> tuple[str, int]:
    others = [(reason, number) for reason, number in row.get("pins", {}).items() if reason != OUTPUT]
    return max(others, key=lambda pair: pair[1], default=("", 0))


def _line(row: Row) -> str:
    name = row["model"]
    if "macs" not in row or not proven(row):
        error = row.get("error", {"stage": "", "type": "", "message": ""})
        text = " ".join(error["message"].split()).replace("|", "/")[:100]
        groups = f"{row['prunable']} / {row['groups']}" if "groups" in row else ""
        cells = [name, row.get("size", ""), groups, f"{error['stage']}: {error['type']}: {text}", *[""] * 8]
        return _cells([*cells, verdict(row)])
    reason, number = _main_reason(row)
    exact = "exact" if not row["approximate"] else f"{row['approximate']} approximate"
    steps = f"{row['trace_s']:.2f} / {row['score_s'] + row['plan_s']:.2f} / {row['remove_s']:.2f}"
    cells = [name, row["size"], f"{row['prunable']} / {row['groups']}", f"{reason} ({number})" if number else ""]
    cells += [f"{row['macs'] / 1e6:.1f} → {row['macs_left'] / 1e6:.1f}", f"{1 - cut(row):.3f}"]
    cells += [f"{row['relative_error']:.0e}", exact, row["way"], steps, f"{row['forward_s']:.2f}"]
    cells += [f"{row['trace_mib']:.0f} / {row['remove_mib']:.0f} ({row['forward_mib']:.0f})", verdict(row)]
    return _cells(cells)


def _cells(cells: Sequence[str]) -> str:
    return "| " + " | ".join(cells) + " |"


def _setting() -> str:
    found = []
    for name in ("torch", "torchvision", "timm"):
        try:
            found.append(f"{name} {version(name)}")
        except PackageNotFoundError:
            found.append(f"{name} missing")
    return (
        f"Batch 1, float32, one thread, {platform.machine()}, Python {platform.python_version()}, {', '.join(found)}."
    )
