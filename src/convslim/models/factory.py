"""`create`: from the words of a recipe or the command line to a network."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

from torch import nn

from convslim.compat import import_optional
from convslim.errors import ModelError, nearest
from convslim.models.digits import DigitsCNN
from convslim.models.resnet_cifar import CifarResNet
from convslim.models.user_code import call_factory
from convslim.models.vgg_cifar import CifarVGG16BN
from convslim.models.yolov3_mobilenetv2 import YOLOv3MobileNetV2

_DEPTHS = (20, 32, 44, 56, 110)

NETWORKS: dict[str, Callable[..., nn.Module]] = {
    **{f"resnet{depth}_cifar": partial(CifarResNet, depth, "A") for depth in _DEPTHS},
    **{f"resnet{depth}_cifar_b": partial(CifarResNet, depth, "B") for depth in _DEPTHS},
    "vgg16_bn_cifar": CifarVGG16BN,
    "digits_cnn": DigitsCNN,
    "yolov3_mobilenetv2": YOLOv3MobileNetV2,
}
"""The networks that convslim brings along, by name."""

SHAPES: Mapping[str, tuple[int, int, int]] = {
    **dict.fromkeys(NETWORKS, (3, 32, 32)),
    "digits_cnn": (1, 8, 8),
    "yolov3_mobilenetv2": (3, 512, 512),
}
"""Channels, height and width of the images that they are made for."""


def create(spec: str, **options: Any) -> nn.Module:
    """Build a network with fresh weights.

    Args:
        spec: a name in `NETWORKS`; `timm:NAME`; `torchvision:NAME`; or a function of the user,
            `package.module:factory` or `path/to/file.py:factory`.
        options: keyword arguments of the network, `num_classes` for example. timm and torchvision take
            theirs, so `pretrained=True` or `weights="DEFAULT"` downloads weights where there is a network
            connection.

    Returns:
        The network, in training mode.

    Raises:
        ModelError: the name is not known, the options do not fit, or the user's factory fails.

    >>> create("resnet56_cifar", num_classes=100).linear
    Linear(in_features=64, out_features=100, bias=True)
    """
    origin, colon, name = spec.partition(":")
    if not colon:
        if spec not in NETWORKS:
            raise ModelError(
                f"network '{spec}' is not known.{nearest(spec, NETWORKS)} "
                f"There are {', '.join(NETWORKS)}; or write timm:NAME, torchvision:NAME, "
                "package.module:factory or path/to/file.py:factory."
            )
        return _build(spec, NETWORKS[spec], options)
    if origin in ("timm", "torchvision"):
        return _build(spec, _library_network(origin, name), options)
    model = call_factory(spec, options, error=ModelError)
    if not isinstance(model, nn.Module):
        raise ModelError(f"factory '{spec}' returned a {type(model).__name__}; it must return an nn.Module.")
    return model


def _library_network(library: str, name: str) -> Callable[..., nn.Module]:
    """The constructor of network `name` in timm or torchvision."""
    package = import_optional(library)
    models = package if library == "timm" else package.models
    known = models.list_models()
    from_hub = library == "timm" and ":" in name  # hf-hub:OWNER/NAME and local-dir:PATH are left to timm
    if not from_hub and name.partition(".")[0] not in known:
        raise ModelError(
            f"{library} {package.__version__} has no network '{name}'.{nearest(name, known)} "
            f"See {models.__name__}.list_models()."
        )
    return partial(models.create_model if library == "timm" else models.get_model, name)


def _build(spec: str, constructor: Callable[..., nn.Module], options: Mapping[str, Any]) -> nn.Module:
    """Call the constructor; what it raises becomes a ModelError with the network and its options."""
    try:
        return constructor(**options)
    except ModelError:
        raise
    except Exception as failure:
        raise ModelError(
            f"network '{spec}' cannot be built with options {dict(options)}: {type(failure).__name__}: {failure}"
        ) from failure
