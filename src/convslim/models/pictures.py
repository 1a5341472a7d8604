"""How a network was trained to see pictures, as far as it says so itself."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

from torch import nn


def picture_config(network: nn.Module) -> Mapping[str, Any]:
    """The configuration that networks of timm, and those in their manner, carry; empty for others.

    Where it is not empty it has at least ``input_size`` (C, H, W), and ``mean`` and ``std`` of pixels in 0…1.
    """
    for name in ("pretrained_cfg", "default_cfg"):
        found = getattr(network, name, None)
        if isinstance(found, Mapping) and {"input_size", "mean", "std"} <= set(found):
            return found
    return {}


def scaled_side(config: Mapping[str, Any], size: int) -> int | None:
    """To how many pixels a picture is scaled before `size` pixels are cut out; None where the network does not say.

    >>> scaled_side({"crop_pct": 0.95}, 224)
    235
    """
    return math.floor(size / config["crop_pct"]) if config.get("crop_pct") else None
