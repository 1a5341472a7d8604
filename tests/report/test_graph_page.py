"""The page of a channel graph as text: complete, offline, escaped, rebuilt from its own data."""

from __future__ import annotations

import json
import re
from html.parser import HTMLParser

import pytest
from tests.report.graph_samples import HOSTILE, digits, everything

from convslim.report import GraphRecord, graph_page
from convslim.report.graph_drawing import abbreviated

VOID = {"meta", "link", "input", "br", "wbr", "img"}


class Page(HTMLParser):
    """All elements of a page with their attributes, the text of each, and a check that they nest."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.text: dict[str, list[str]] = {}
        self.open: list[str] = []
        self.feed(text)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attrs)))
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attrs)))

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        for tag in self.open[-1:]:
            self.text.setdefault(tag, []).append(data)

    def all(self, tag: str, kind: str = "") -> list[dict[str, str | None]]:
        return [
            found for name, found in self.elements if name == tag and (not kind or kind in (found.get("class") or ""))
        ]


@pytest.fixture(params=[digits(), everything()], ids=["digits_cnn", "everything"])
def record(request: pytest.FixtureRequest) -> GraphRecord:
    return request.param


def test_every_group_is_a_node_and_a_row(record: GraphRecord):
    page = Page(graph_page(record))
    assert page.open == []
    nodes = page.all("a", "node")
    assert [node["id"] for node in nodes] == [f"node-{number}" for number in range(len(record.groups))]
    assert [(node["class"] or "").split()[1] for node in nodes] == [group.state for group in record.groups]
    rows = [row["id"] for row in page.all("tr") if "id" in row]
    assert rows == [f"group-{number}" for number in range(len(record.groups))]
    assert [node["href"] for node in nodes] == [f"#{row}" for row in rows]


def test_every_link_is_a_line(record: GraphRecord):
    lines = [path for path in Page(graph_page(record)).all("path") if "data-from" in path]
    assert sorted((int(line["data-from"] or 0), int(line["data-to"] or 0)) for line in lines) == sorted(record.links())


def test_page_asks_for_nothing(record: GraphRecord):
    text = graph_page(record)
    assert not re.search(r"https?:|@import|//[a-z]+\.", text)
    targets = [
        found[name] or ""
        for _, found in Page(text).elements
        for name in ("src", "href", "action", "data")
        if name in found
    ]
    assert {target[0] for target in targets if target != "data:,"} == {"#"}
    assert "default-src 'none'" in text


def test_all_ids_are_unique_and_all_links_lead_to_one(record: GraphRecord):
    page = Page(graph_page(record))
    ids = [found["id"] for _, found in page.elements if "id" in found]
    assert len(ids) == len(set(ids))
    assert {(link["href"] or "")[1:] for link in page.all("a")} <= set(ids)
    references = [found[name] for _, found in page.elements for name in ("aria-labelledby",) if name in found]
    assert set(references) <= set(ids)


def test_nothing_of_the_record_becomes_markup():
    page = Page(graph_page(everything()))
    assert page.all("img") == []
    assert len(page.all("script")) == 2
    assert HOSTILE in "".join(page.text["h1"])
    assert {"src", "onerror"}.isdisjoint({name for _, found in page.elements for name in found})


def test_page_is_rebuilt_from_its_own_data(record: GraphRecord):
    text = graph_page(record)
    data = re.search(r'<script type="application/json" id="record">(.*?)</script>', text, re.DOTALL)
    assert data
    json.loads(data[1])
    again = GraphRecord.model_validate_json(data[1])
    assert again == record
    assert graph_page(again) == text


def test_reasons_stand_with_their_lines_and_counts():
    text = graph_page(everything())
    words = " ".join("".join(re.sub(r"<[^>]+>", " ", text)).split())
    assert "2 groups, 16 channels" in words
    assert ".py:7" in words
    assert "layer normalization runs over the channels" in words
    assert "4 channels go together" in words
    assert "is a graph module" in words
    assert "numbers in the code hold 8 channels back" in words


def test_table_is_one_for_screen_readers():
    page = Page(graph_page(digits()))
    assert len(page.all("caption")) == 1
    assert [head["scope"] for head in page.all("th")].count("col") == 8
    assert [head["scope"] for head in page.all("th")].count("row") == len(digits().groups)
    assert all("aria-label" in node for node in page.all("a", "node"))


def test_a_network_without_groups_has_a_page():
    empty = digits().model_copy(update={"groups": (), "layers": (), "macs": 0, "macs_prunable": 0, "params": 0})
    assert "Nothing pins or binds" in graph_page(empty)


def test_names_shrink_from_the_left():
    assert abbreviated("a" * 30, 10) == "…" + "a" * 9
    assert abbreviated("blocks.3.1.se.conv_reduce", 20) == "b.3.1.se.conv_reduce"
    assert abbreviated("", 5) == ""
