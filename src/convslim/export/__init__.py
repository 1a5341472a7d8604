"""Files for other runtimes."""

from convslim.export.onnx import ExportReport, export_onnx
from convslim.export.qdq import Int8Report, export_int8
from convslim.export.timing import timing

__all__ = ["ExportReport", "Int8Report", "export_int8", "export_onnx", "timing"]
