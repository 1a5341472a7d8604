"""Which channels of a network belong together."""

from convslim.channels.graph import ChannelGraph, ChannelGroup, LayerCall, ParamAxis, Pin
from convslim.channels.trace import trace

__all__ = ["ChannelGraph", "ChannelGroup", "LayerCall", "ParamAxis", "Pin", "trace"]
