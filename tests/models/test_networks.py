"""Networks of the papers: counts to the unit, keys of the public checkpoints."""

from dataclasses import replace

import pytest
import torch
import torch.nn.functional as F
from safetensors.torch import load_file
from torch.utils.flop_counter import FlopCounterMode

from convslim.errors import ModelError
from convslim.models import NETWORKS, SHAPES, create
from convslim.models.resnet_cifar import CifarResNet, ZeroPadShortcut

COUNTS = {  # parameters, MACs
    "resnet20_cifar": (269_722, 40_551_040),
    "resnet32_cifar": (464_154, 68_862_592),
    "resnet44_cifar": (658_586, 97_174_144),
    "resnet56_cifar": (853_018, 125_485_696),
    "resnet110_cifar": (1_727_962, 252_887_680),
    "resnet20_cifar_b": (272_474, 40_813_184),
    "resnet56_cifar_b": (855_770, 125_747_840),
    "vgg16_bn_cifar": (14_724_042, 313_201_664),
    "digits_cnn": (60_346, 1_156_032),
    "yolov3_mobilenetv2": (6_775_393, 4_151_410_688),
}

IMAGENET = {"mean": (0.485, 0.456, 0.406), "std": (0.229, 0.224, 0.225)}
CIFAR = {"mean": (0.4914, 0.4822, 0.4465), "std": (0.2023, 0.1994, 0.2010)}
PRETRAINED = {  # network: file, normalization it was trained with
    "resnet20_cifar": ("cifar10-resnet-akamaster/resnet20-12fca82f", IMAGENET),
    "resnet56_cifar": ("cifar10-resnet-akamaster/resnet56-4bfd9763", IMAGENET),
    "resnet20_cifar_b": ("cifar10-models-chenyaofo/cifar10_resnet20-4118986f", CIFAR),
    "resnet56_cifar_b": ("cifar10-models-chenyaofo/cifar10_resnet56-187c023a", CIFAR),
}


def image(name):
    return torch.zeros(1, *SHAPES[name])


@pytest.mark.parametrize("name", COUNTS)
def test_parameters_and_macs_are_those_of_the_papers(name):
    model = create(name).eval()
    with torch.no_grad(), FlopCounterMode(display=False) as counter:
        model(image(name))
    assert sum(p.numel() for p in model.parameters()) == COUNTS[name][0]
    assert counter.get_total_flops() == 2 * COUNTS[name][1]


@pytest.mark.parametrize("name", sorted(set(NETWORKS) - {"resnet110_cifar", "resnet110_cifar_b", "yolov3_mobilenetv2"}))
def test_every_network_takes_num_classes_and_trains(name):
    model = create(name, num_classes=7)
    output = model(image(name).repeat(2, 1, 1, 1))
    output.sum().backward()
    assert output.shape == (2, 7)
    assert all(p.grad is not None for p in model.parameters())


@pytest.mark.parametrize("name", PRETRAINED)
def test_public_checkpoints_load_and_recognize_images(name, real_data, real_cifar10):
    file, normalization = PRETRAINED[name]
    path = real_data / f"{file}.safetensors"
    if not path.is_file():
        pytest.skip(f"no {path}")
    state = {key.removeprefix("module."): value for key, value in load_file(path).items()}
    model = create(name).eval()
    loaded = model.load_state_dict(state, strict=False)
    assert loaded.unexpected_keys == []
    assert all(key.endswith("num_batches_tracked") for key in loaded.missing_keys)
    images, labels = next(iter(replace(real_cifar10.test, **normalization).batches(200)))
    with torch.no_grad():
        correct = int((model(images).argmax(1) == labels).sum())
    assert correct >= 180


def test_zero_padding_is_read_from_its_attribute():
    shortcut = ZeroPadShortcut((1, 2))
    x = torch.randn(2, 3, 5, 5)
    expected = F.pad(x[:, :, ::2, ::2], (0, 0, 0, 0, 1, 2))
    assert torch.equal(shortcut(x), expected)
    shortcut.channel_padding = (0, 0)
    assert torch.equal(shortcut(x), x[:, :, ::2, ::2])


@pytest.mark.parametrize(("depth", "shortcut", "message"), [(21, "A", "6n \\+ 2"), (20, "C", "'A' or 'B'")])
def test_impossible_resnets_are_refused(depth, shortcut, message):
    with pytest.raises(ModelError, match=message):
        CifarResNet(depth, shortcut)
