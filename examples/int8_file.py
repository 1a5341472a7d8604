"""From a network to an int8 file: calibrate on some images without labels, write it, run it in ONNX Runtime."""

import tempfile

import onnxruntime
import torch
from digits import digits, network

from convslim.export import export_int8
from convslim.quantize import quantize


def main() -> None:
    torch.manual_seed(0)
    images, _, test_images, _ = digits()
    model = network().eval()
    done = quantize(model, images[:300])
    with tempfile.TemporaryDirectory() as folder:
        report = export_int8(done.model, images[:50], f"{folder}/int8.onnx")
        session = onnxruntime.InferenceSession(str(report.path), providers=["CPUExecutionProvider"])
        (scores,) = session.run(None, {session.get_inputs()[0].name: test_images.numpy()})
        size = report.bytes
    with torch.no_grad():
        same = (model(test_images).argmax(1).numpy() == scores.argmax(1)).mean()
    print(
        f"{size:,} bytes, {len(report.kernels.integer)} layers in integers; the same class on {same:.1%} of the images"
    )


if __name__ == "__main__":
    main()
