"""A quantized network as one ONNX file in 8-bit integers, proven on the file itself."""

from __future__ import annotations

import copy
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor, nn

from convslim.channels.tape import output_tensors
from convslim.errors import ExportError, ModelError
from convslim.export.check import FLOAT, Kernels, check_kernels, require_integer
from convslim.export.int8_graph import FILE, int8_graph
from convslim.export.metadata import FileFacts, annotate
from convslim.export.onnx import exportable, placed, write
from convslim.quantize.prepare import calls_of, simulation

TOLERANCE = 0.05


@dataclass(frozen=True)
class Int8Report:
    """What was written, which kernels run it, and how well it agrees with the simulation.

    `error` is Σ|file − simulation|² / Σ|simulation − its mean|² over all outputs, `agreement` the share of images with
    the same highest class (None unless there is one score per class), over `num_images` images.
    """

    path: Path
    bytes: int
    kernels: Kernels
    error: float
    agreement: float | None
    num_images: int
    opset: int


def export_int8(
    model: nn.Module,
    images: Tensor,
    path: str | Path,
    *,
    opset: int = 18,
    dynamic_batch: bool = True,
    allow_float: Iterable[str] = (),
    tolerance: float = TOLERANCE,
    facts: FileFacts | None = None,
) -> Int8Report:
    """Write a simulation as an ONNX file of integers, and run that file against it.

    Weights are int8 and biases int32 tensors, activations go through QuantizeLinear and DequantizeLinear, from which
    ONNX Runtime and other runtimes build integer kernels. The file appears at `path` only after ONNX Runtime was seen
    to run every quantized layer with an integer kernel, and to give the simulation's outputs.

    Args:
        model: What `convslim.quantize` or `convslim.quantize.prepare` returned, calibrated or trained; left as found.
        images: (N, C, H, W), normalized; the comparison runs on them, so give real ones where there are some.
        opset: 18 or more.
        dynamic_batch: Leave the batch size free; else it is that of `images`.
        allow_float: Patterns of layers that may run in float.
        tolerance: Largest `Int8Report.error`.
        facts: What the file says of itself, for `convslim predict`.

    Raises:
        ExportError: The network cannot be exported, a layer would run in float, or the file disagrees.
        ModelError: The model is no simulation, or was not calibrated.
        ArtifactError: The file cannot be written.

    References:
        ONNX operators QuantizeLinear and DequantizeLinear; Jacob et al., "Quantization and Training of Neural Networks
        for Efficient Integer-Arithmetic-Only Inference", CVPR 2018.
    """
    path = Path(path)
    if opset < 18:
        raise ExportError(f"opset is {opset}; PyTorch's exporter writes 18 and later. Give 18 or more.")
    still = copy.deepcopy(simulation(model)).eval().cpu()
    images = images.detach().cpu()
    example = exportable(images[:2] if dynamic_batch else images, dynamic_batch)
    with placed(path) as temporary:
        write(int8_graph(still), example, temporary, opset, dynamic_batch)
        _name_layers(temporary)
        annotate(temporary, facts)
        kernels = check_kernels(temporary)
        require_integer(kernels, calls_of(still), allow_float)
        error, agreement = compare(still, temporary, images)
        if not error <= tolerance:
            raise ExportError(
                f"The int8 file's outputs differ from the simulation's by {error:.1%} of their variance, above the "
                f"tolerance {tolerance:.1%}; no file was written. Calibrate on images like these, or keep sensitive "
                "layers float."
            )
    return Int8Report(path, path.stat().st_size, kernels, error, agreement, len(images), opset)


def compare(model: nn.Module, path: Path, images: Tensor, batch: int = 100) -> tuple[float, float | None]:
    """`Int8Report.error` and `agreement` of a file against a simulation on the CPU, in evaluation mode.

    Raises:
        ExportError: ONNX Runtime cannot run the file.
    """
    import onnxruntime

    pairs = []
    try:
        session = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
        size = session.get_inputs()[0].shape[0]
        for part in images.split(size if isinstance(size, int) else batch):
            with torch.no_grad():
                expected = [tensor.double().flatten(1) for tensor in output_tensors(model(part))]
            found = session.run(None, {session.get_inputs()[0].name: part.numpy()})
            pairs.append(
                (torch.cat(expected, 1), torch.cat([torch.from_numpy(each).double().flatten(1) for each in found], 1))
            )
    except ModelError:
        raise
    except Exception as error:  # ONNX Runtime's exception classes share no base but Exception
        raise ExportError(f"ONNX Runtime cannot run the int8 file: {type(error).__name__}: {error}.") from error
    first, second = (torch.cat([pair[side] for pair in pairs]) for side in (0, 1))
    spread = float((first - first.mean()).square().sum())
    error_ = float((first - second).square().sum()) / max(spread, 1e-30)
    scores = len(found) == 1 and found[0].ndim == 2 and found[0].shape[1] > 1
    return error_, float((first.argmax(1) == second.argmax(1)).double().mean()) if scores else None


def _name_layers(path: Path) -> None:
    """Layers get the names of the user's class; tensors lose the prefix of the holder, nodes the exporter's remarks."""
    import onnx

    model = onnx.load(path)
    produced = {output: node for node in model.graph.node for output in node.output}
    names = [tensor.name for tensor in model.graph.initializer]
    shorter = {name: name.removeprefix(f"{FILE}.").replace(".integers.", ".") for name in names}
    for node in model.graph.node:
        weight = produced.get(node.input[1]) if node.op_type in FLOAT and len(node.input) > 1 else None
        if weight is not None and weight.op_type == "DequantizeLinear":
            node.name = shorter[weight.input[0]].removesuffix(".weight")
    for node in model.graph.node:
        node.input[:] = [shorter.get(name, name) for name in node.input]
        del node.metadata_props[:]
    for tensor in model.graph.initializer:
        tensor.name = shorter[tensor.name]
    del model.graph.value_info[:]
    del model.graph.metadata_props[:]
    onnx.save(model, path)
