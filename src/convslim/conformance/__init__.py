"""Small networks that are hard to prune, and an independent referee: what does a tool make of them?

``python -m convslim.conformance --tool torch-pruning`` prints a verdict for every case. In Python, :func:`judge` does
it for one case and one tool; a tool is a function from a model and a :class:`Task` to an :class:`Answer`.

>>> from convslim.conformance import CASES, judge, open_tool
>>> case = next(case for case in CASES if case.name == "shuffle_by_view")
>>> judge(case, open_tool("convslim")).verdict
<Verdict.EXACT: 'exact'>
"""

from convslim.conformance.case import Case, fresh
from convslim.conformance.cases import CASES, FAMILIES
from convslim.conformance.referee import Judgment, Verdict, judge, judge_answer
from convslim.conformance.tool import Answer, Task, Tool, open_tool

__all__ = [
    "CASES",
    "FAMILIES",
    "Answer",
    "Case",
    "Judgment",
    "Task",
    "Tool",
    "Verdict",
    "fresh",
    "judge",
    "judge_answer",
    "open_tool",
]
