"""What was checked by computation, and how closely it held."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

from markupsafe import Markup

from convslim.report.markup import element, scrolled, table
from convslim.report.record import StepRecord
from convslim.report.run_files import RunFiles
from convslim.report.sections.section import Section


class _Check(NamedTuple):
    """One check: the step, what must be equal to what, what was found, and what was allowed, if anything was."""

    step: str
    claim: str
    found: str
    allowed: str | None


def proofs(run: RunFiles) -> Section | None:
    """The section; a run that proved nothing has none."""
    found = [
        check
        for number, step in enumerate(run.record.steps, start=1)
        for make in (_cuts, _export, _int8, _refit)
        for check in make(step, f"{number} {step.kind}")
    ]
    if not found:
        return None
    rows = [(*check[:3], check.allowed or "–", _state(check)) for check in found]
    body = table(["step", "claim", "found", "allowed", ""], rows, texts=5)
    return Section(
        "proofs",
        "What was proven",
        "A check that fails ends the run, so that every one that stands here held.",
        scrolled(body, "What was proven"),
    )


def _state(check: _Check) -> Markup:
    return element("span", "measured") if check.allowed is None else element("span", "held", class_="good")


def _cuts(step: StepRecord, name: str) -> Iterator[_Check]:
    """A smaller network beside the original in which the removed channels are masked."""
    rounds = step.details.get("rounds")
    for holder in [step.details, *(rounds if isinstance(rounds, list) else [])]:
        found = holder.get("certificate") if isinstance(holder, Mapping) else None
        if isinstance(found, Mapping):
            yield from _certificate(found, name)


def _certificate(found: Mapping[str, Any], name: str) -> Iterator[_Check]:
    approximate = found.get("num_approximate", 0)
    over = " with statistics over the kept channels" if approximate else ""
    yield _Check(
        name,
        f"The smaller network equals the original with the removed channels masked{over}: "
        f"{found['num_outputs']} output(s) compared",
        f"{found['relative_error']:.1e} of the largest value ({found['max_error']:.1e})",
        f"{found['tolerance']:.0e}",
    )
    yield _Check(
        name,
        "At every operation exactly the kept channels arrive, in order",
        f"{found['num_operations']} operations",
        "all of them",
    )


def _export(step: StepRecord, name: str) -> Iterator[_Check]:
    details = step.details
    if step.kind == "export" and "max_error" in details:
        batches = ", ".join(map(str, details.get("batch_sizes", ())))
        yield _Check(
            name,
            f"{details.get('path', 'the file')} in ONNX Runtime equals the network in PyTorch, at batch {batches}",
            f"{details['max_error']:.1e}",
            f"{float(step.config.get('tolerance', 1e-4)):.0e}",
        )


def _int8(step: StepRecord, name: str) -> Iterator[_Check]:
    file = step.details.get("file")
    if step.kind == "quantize" and isinstance(file, Mapping) and file.get("error") is not None:
        yield _Check(
            name,
            f"{file.get('path', 'the file')} in ONNX Runtime equals the simulation: Σ|file − simulation|² / variance",
            f"{file['error']:.1e}",
            f"{float(step.config.get('tolerance', 0.05)):g}",
        )


def _refit(step: StepRecord, name: str) -> Iterator[_Check]:
    """Not equal, but how near: on images that nothing was fitted on."""
    parity = step.details.get("parity")
    if step.kind == "reconstruct" and isinstance(parity, Mapping) and parity.get("error") is not None:
        agreement = parity.get("agreement")
        words = "" if agreement is None else f", the same class on {100 * agreement:.1f} %"
        yield _Check(
            name,
            f"Distance to the uncut network on {parity.get('num_images')} images that nothing was fitted on",
            f"{parity['error']:.2e} of the variance{words}",
            None,
        )
