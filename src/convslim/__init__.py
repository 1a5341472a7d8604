"""convslim: make a trained CNN smaller and faster, and prove what came out."""

from convslim.channels.graph import ChannelGraph, ChannelGroup, ParamAxis, Pin
from convslim.channels.trace import trace
from convslim.surgery.plan import PruningPlan, make_plan
from convslim.surgery.remove import rebuild, remove
from convslim.surgery.verify import Certificate, verify

__version__ = "0.1.0"

__all__ = [
    "Certificate",
    "ChannelGraph",
    "ChannelGroup",
    "ParamAxis",
    "Pin",
    "PruningPlan",
    "make_plan",
    "rebuild",
    "remove",
    "trace",
    "verify",
]
