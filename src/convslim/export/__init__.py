"""Files for other runtimes."""

from convslim.export.onnx import ExportReport, export_onnx
from convslim.export.timing import timing

__all__ = ["ExportReport", "export_onnx", "timing"]
