"""Which networks the coverage table is about: the smallest one of every family of timm and torchvision.

A family is what remains of a network's name without its size: `resnet18` and `resnet152` are one family,
`resnet50d`, `seresnet50` and `resnetblur50` are others. Of modules that hold transformers without a convolution
behind the patch stem, a few families stand for all. The list is written once and kept beside this file, so that
tables of different days are about the same networks:

    python benchmarks/coverage_choose.py > benchmarks/coverage_models.txt
"""

from __future__ import annotations

import itertools
import re
import sys
import warnings
from collections.abc import Iterable, Iterator

import torch
from torch import nn

from convslim.compat import import_optional

SIZES = (
    "tiny small base large huge nano pico femto atto xlarge xxlarge giant gigantic xs s m l xl xxs xxl n t b h g xt "
    "xxt mini micro zepto lite medium little enormous plus xx xtiny xxtiny a c d e f ti x big wide tall short kobe max"
)
NUMBERS = re.compile(
    r"\d+x\d+d|window\d+|patch\d+|w\d+|b\d+|s\d+|m\d+|\d+(to\d+)?|\d+x\d+|rw\d*|p\d+|x\d+|g\d+|\d+[mg]f"
)
TRANSFORMERS = {  # module → number of families that stand for it
    "beit": 1, "cait": 1, "convit": 1, "crossvit": 1, "davit": 1, "deepseek_vit": 0, "deit": 1, "eva": 2,
    "gemma4_vit": 1, "hiera": 1, "hieradet_sam2": 1, "mlp_mixer": 4, "mvitv2": 1, "naflexvit": 1, "nest": 1,
    "pit": 1, "qwen3_vit": 1, "swin_transformer_v2": 1, "swin_transformer_v2_cr": 1, "tnt": 1,
    "vision_transformer": 2, "vision_transformer_relpos": 1,
}  # fmt: skip
TOO_BIG = ("huge", "giant", "gigantic", "enormous", "xlarge", "xxlarge", "_5b_", "_7b_", "_1b_", "_2b_", "_3b_")
SAME = ("byobnet/repvgg_b2g", "byobnet/repvgg_b3g", "resnest/resnestd_4s2xd", "efficientvim/efficientvim_dist")
NOT_NETWORKS = ("quantized_",)
EVERY_ONE = ("fcn_", "deeplabv3_", "lraspp_", "rcnn_", "retinanet_", "fcos_", "ssd", "raft_")


def family(name: str) -> str:
    """The name without its size."""
    words = (re.sub(r"(?<!v)\d+(?=[a-z]{0,4}$)", "", NUMBERS.sub("", w) if NUMBERS.fullmatch(w) else w)
             for w in name.split("_"))  # fmt: skip
    return "_".join(word for word in words if word and word not in SIZES.split())


def num_parameters(spec: str) -> int:
    """Parameters of a network, counted without making them where its code allows that."""
    origin, _, name = spec.partition(":")
    package = import_optional(origin)
    build = package.create_model if origin == "timm" else package.models.get_model
    options = {} if origin == "timm" else {"weights": None}
    if any(part in name for part in EVERY_ONE):
        options["weights_backbone"] = None
    try:
        with torch.device("meta"):
            model: nn.Module = build(name, **options)
    except Exception:  # buffers that need values
        model = build(name, **options)
    return sum(parameter.numel() for parameter in model.parameters())


def smallest(specs: list[str]) -> str:
    """The network with the fewest parameters; the first by name of equal ones."""
    small = [spec for spec in specs if not any(word in spec for word in TOO_BIG)] or specs
    return min(small, key=lambda spec: (num_parameters(spec), spec)) if len(small) > 1 else small[0]


def timm_families() -> list[list[list[str]]]:
    """Per module of timm its families, each a list of networks."""
    timm = import_optional("timm")
    modules = []
    for module in timm.list_modules():
        families: dict[str, list[str]] = {}
        for name in timm.list_models(module=module):
            families.setdefault(family(name), []).append(f"timm:{name}")
        for key in list(families):
            tested = key.removeprefix("test_") in families and key.startswith("test_")
            if tested or key == "test_byobnet" or f"{module}/{key}" in SAME:
                del families[key]
        modules.append(list(families.values())[: TRANSFORMERS.get(module)])
    return modules


def torchvision_families() -> list[list[str]]:
    """The families of torchvision; of detectors, segmentation networks and optical flow every network."""
    families: dict[str, list[str]] = {}
    for name in import_optional("torchvision").models.list_models():
        if not name.startswith(NOT_NETWORKS):
            key = name if any(part in name for part in EVERY_ONE) else family(name)
            families.setdefault(key, []).append(f"torchvision:{name}")
    return list(families.values())


def in_turn(rows: Iterable[list[list[str]]]) -> Iterator[list[str]]:
    """The first entry of every row, then every second, and so on: variety comes first."""
    for column in itertools.zip_longest(*rows):
        yield from (entry for entry in column if entry is not None)


def main() -> None:
    warnings.simplefilter("ignore")
    vision = torchvision_families()
    for candidates in in_turn([*timm_families(), vision[0::3], vision[1::3], vision[2::3]]):
        print(smallest(candidates), flush=True)
        print(f"{len(candidates):3} {candidates[0]}", file=sys.stderr)


if __name__ == "__main__":
    main()
