"""The page on conformance cannot go stale: it names every case, and says of convslim what the tests find."""

import re
from pathlib import Path

from tests.micro.expected import EXPECTED

from convslim.conformance import CASES, FAMILIES, Verdict

PAGE = (Path(__file__).parents[2] / "docs" / "conformance.md").read_text(encoding="utf-8")
ROWS = re.findall(r"^\| `(\w+)` \| (.+) \| \W*(\w+)\W* \| \W*(\w+)\W* \|$", PAGE, re.MULTILINE)


def test_every_case_has_its_row() -> None:
    assert [(name, hard) for name, hard, _, _ in ROWS] == [(case.name, case.hard) for case in CASES]
    assert f"holds {len(CASES)} small networks" in PAGE


def test_verdicts_on_convslim_are_those_of_the_tests() -> None:
    assert {name: own for name, _, own, _ in ROWS} == {name: row["verdict"] for name, row in EXPECTED.items()}


def test_counts_are_those_of_the_rows() -> None:
    for column, tool in ((2, "convslim"), (3, "torch-pruning")):
        table = PAGE[PAGE.index(f"| **{tool}** | cases |") :].split("\n\n")[0].splitlines()
        verdicts = [cell.strip() for cell in table[0].split("|")[3:-1]]
        for line, family in zip(table[2:], [*FAMILIES, None], strict=True):
            cells = [cell.strip() for cell in line.split("|")[1:-1]]
            cases = {case.name for case in (FAMILIES[family] if family else CASES)}
            found = [row[column] for row in ROWS if row[0] in cases]
            assert cells[:2] == [family or "all", str(len(found))]
            assert [int(cell or 0) for cell in cells[2:]] == [found.count(verdict) for verdict in verdicts]


def test_verdicts_are_explained() -> None:
    explained = re.findall(r"^\| \W*(\w+)\W* \| ", PAGE[: PAGE.index("<!-- results -->")], re.MULTILINE)
    assert set(explained) >= set(Verdict)


def test_names_of_cases_in_the_text_exist() -> None:
    text = PAGE[PAGE.index("## Reading the table") : PAGE.index("## Another tool")]
    names = {name for name in re.findall(r"`(\w+)`", text) if "_" in name}
    assert names - {case.name for case in CASES} == {
        "ignored_layers", "num_heads", "unwrapped_parameters", "output_transform", "out_channel_groups"
    }  # fmt: skip
