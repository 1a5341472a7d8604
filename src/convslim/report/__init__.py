"""What a run measured and what a trace found: JSON records, tables for the terminal, and a page for people."""

from convslim.report.class_record import ClassRecord
from convslim.report.graph_facts import graph_record
from convslim.report.graph_headline import WAYS
from convslim.report.graph_page import graph_page
from convslim.report.graph_record import GraphRecord
from convslim.report.numbers import counted, share_text
from convslim.report.record import LatencyRecord, Machine, RunRecord, StepRecord, versions
from convslim.report.table import run_table

__all__ = [
    "WAYS",
    "ClassRecord",
    "GraphRecord",
    "LatencyRecord",
    "Machine",
    "RunRecord",
    "StepRecord",
    "counted",
    "graph_page",
    "graph_record",
    "run_table",
    "share_text",
    "versions",
]
