"""What a run measured: a JSON record and tables for the terminal."""

from convslim.report.record import LatencyRecord, Machine, RunRecord, StepRecord, versions
from convslim.report.table import run_table

__all__ = ["LatencyRecord", "Machine", "RunRecord", "StepRecord", "run_table", "versions"]
