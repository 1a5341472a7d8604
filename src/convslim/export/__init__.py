"""Files for other runtimes."""

from convslim.export.onnx import ExportReport, export_onnx

__all__ = ["ExportReport", "export_onnx"]
