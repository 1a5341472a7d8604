"""From float networks to 8-bit integers: ranges, rounding, training through the rounding, a reference in integers."""

from convslim.quantize.ptq import Quantization, quantize

__all__ = ["Quantization", "quantize"]
