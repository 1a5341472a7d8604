"""Weights of others: containers, prefixes, damage, and code that must not run."""

import pickle
import random
from collections import OrderedDict

import pytest
import torch
from safetensors.torch import save_file
from torch import nn

from convslim import load_weights
from convslim.errors import ArtifactError, ModelError


def network():
    return nn.Sequential(OrderedDict(conv=nn.Conv2d(3, 4, 1), norm=nn.BatchNorm2d(4)))


@pytest.fixture
def source():
    """A network whose values differ from a fresh one's, statistics included."""
    net = network()
    for tensor in net.state_dict().values():
        tensor.copy_(torch.rand(tensor.shape) + 1)
    return net


def equal(one, other, but=()):
    pairs = zip(one.state_dict().items(), other.state_dict().values(), strict=True)
    return {name for (name, left), right in pairs if not torch.equal(left, right)} == set(but)


def prefixed(state, prefix):
    return {prefix + name: tensor for name, tensor in state.items()}


CONTAINERS = {
    "state dict": (lambda state: state, ""),
    "state_dict": (lambda state: {"state_dict": state, "epoch": 3}, ""),
    "model": (lambda state: {"model": state, "optimizer": {"lr": 0.1}}, ""),
    "two deep": (lambda state: {"ema": {"state_dict": state}}, ""),
    "module.": (lambda state: prefixed(state, "module."), "module."),
    "container and two prefixes": (
        lambda state: {"state_dict": prefixed(state, "module._orig_mod.")},
        "module._orig_mod.",
    ),
}


@pytest.mark.parametrize("name", CONTAINERS)
@pytest.mark.parametrize("suffix", ["pt", "pth", "th"])
def test_containers_are_opened_and_prefixes_cut(name, suffix, source, tmp_path):
    wrap, prefix = CONTAINERS[name]
    torch.save(wrap(source.state_dict()), tmp_path / f"net.{suffix}")
    net = network()
    report = load_weights(net, tmp_path / f"net.{suffix}")
    assert equal(net, source)
    assert (report.num_tensors, report.prefix, report.missing, report.unexpected) == (7, prefix, (), ())


@pytest.mark.parametrize("prefix", ["", "module."])
def test_safetensors(prefix, source, tmp_path):
    save_file(prefixed(source.state_dict(), prefix), tmp_path / "net.safetensors")
    net = network()
    assert load_weights(net, str(tmp_path / "net.safetensors")).prefix == prefix
    assert equal(net, source)


def test_a_prefix_that_belongs_to_the_model_stays(source, tmp_path):
    outer, again = nn.ModuleDict({"model": source}), nn.ModuleDict({"model": network()})
    torch.save(outer.state_dict(), tmp_path / "net.pt")
    assert load_weights(again, tmp_path / "net.pt").prefix == ""
    assert equal(again, outer)


def test_counters_of_batch_norm_may_be_missing(source, tmp_path):
    state = source.state_dict()
    del state["norm.num_batches_tracked"]
    torch.save(state, tmp_path / "net.pt")
    net = network()
    report = load_weights(net, tmp_path / "net.pt")
    assert (report.num_tensors, report.missing) == (6, ())
    assert equal(net, source, but={"norm.num_batches_tracked"})


def test_names_that_do_not_fit(source, tmp_path):
    state = source.state_dict()
    state["fc.weight"] = state.pop("conv.weight")
    torch.save(state, tmp_path / "net.pt")
    net, before = network(), network()
    before.load_state_dict(net.state_dict())
    message = (
        r"net\.pt does not fit Sequential: 1 missing \(conv\.weight\); 1 unexpected \(fc\.weight\); .*strict=False"
    )
    with pytest.raises(ModelError, match=message):
        load_weights(net, tmp_path / "net.pt")
    assert equal(net, before), "a refused file leaves the model as it was"
    report = load_weights(net, tmp_path / "net.pt", strict=False)
    assert (report.num_tensors, report.missing, report.unexpected) == (6, ("conv.weight",), ("fc.weight",))
    assert equal(net, source, but={"conv.weight"})


@pytest.mark.parametrize("strict", [True, False])
def test_a_file_of_which_nothing_fits_is_refused(strict, tmp_path):
    torch.save({"fc.weight": torch.zeros(2, 2)}, tmp_path / "net.pt")
    with pytest.raises(ModelError, match=r"No tensor .*net\.pt.* with 'fc\.weight', the model with 'conv\.weight'"):
        load_weights(network(), tmp_path / "net.pt", strict=strict)


@pytest.mark.parametrize("strict", [True, False])
def test_other_shapes_are_named(strict, source, tmp_path):
    torch.save(source.state_dict(), tmp_path / "net.pt")
    wider = nn.Sequential(OrderedDict(conv=nn.Conv2d(3, 8, 1), norm=nn.BatchNorm2d(8)))
    message = r"6 tensors of .*net\.pt have other shapes .*'conv\.weight': \(4, 3, 1, 1\) instead of \(8, 3, 1, 1\)"
    with pytest.raises(ModelError, match=message):
        load_weights(wider, tmp_path / "net.pt", strict=strict)


class Marker:
    """Unpickled by `pickle`, it writes a file."""

    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return exec, (f"open({str(self.path)!r}, 'w').close()",)


@pytest.mark.parametrize("zipped", [True, False])
@pytest.mark.parametrize("place", ["beside", "whole"])
def test_code_in_a_checkpoint_is_refused_and_does_not_run(place, zipped, source, tmp_path):
    marker, file = tmp_path / "marker", tmp_path / "net.pt"
    code = Marker(marker)
    content = {"state_dict": source.state_dict(), "args": code} if place == "beside" else code
    torch.save(content, file, _use_new_zipfile_serialization=zipped)
    with pytest.raises(ArtifactError, match=r"net\.pt holds pickled Python objects .*refused.*state_dict"):
        load_weights(network(), file)
    assert not marker.exists()
    torch.load(file, weights_only=False)
    assert marker.exists(), "the file would have run code"


def test_a_plain_pickle_and_a_whole_model_are_refused(source, tmp_path):
    (tmp_path / "net.pt").write_bytes(pickle.dumps({"conv.weight": [1.0]}))
    torch.save(source, tmp_path / "whole.pt")
    for name in ("net.pt", "whole.pt"):
        with pytest.raises(ArtifactError, match=name):
            load_weights(network(), tmp_path / name)


@pytest.mark.parametrize("content", [{}, [1, 2], {"epoch": 3}, torch.zeros(3), {"state_dict": {"lr": 0.1}}])
def test_files_without_named_tensors(content, tmp_path):
    torch.save(content, tmp_path / "net.pt")
    with pytest.raises(ArtifactError, match=r"net\.pt holds no tensors by name; a state_dict is expected"):
        load_weights(network(), tmp_path / "net.pt")


@pytest.mark.parametrize("path", ["absent.pt", ""])
def test_absent_files(path, tmp_path):
    with pytest.raises(ArtifactError, match=r"There is no checkpoint at .*Check the path"):
        load_weights(network(), tmp_path / path)


def write(state, path):
    if path.suffix == ".safetensors":
        save_file(state, path)
    else:
        torch.save(state, path, _use_new_zipfile_serialization=path.suffix == ".pt")


@pytest.mark.filterwarnings("ignore:Detected pickle protocol")
@pytest.mark.parametrize("name", ["zipped.pt", "legacy.th", "net.safetensors"])
def test_damaged_files_are_refused_or_read_but_never_crash(name, source, tmp_path):
    file = tmp_path / name
    write(source.state_dict(), file)
    content, rng, messages = file.read_bytes(), random.Random(0), []
    for _ in range(150):
        damaged = bytearray(content)
        for _ in range(rng.choice([1, 1, 4, 20])):
            damaged[rng.randrange(len(damaged))] ^= 1 << rng.randrange(8)
        file.write_bytes(damaged)
        try:
            load_weights(network(), file)
        except (ArtifactError, ModelError) as error:
            messages.append(str(error))
    assert len(messages) > 20
    assert all(name in message for message in messages)


@pytest.mark.parametrize("name", ["zipped.pt", "legacy.th", "net.safetensors"])
def test_truncated_files_are_named(name, source, tmp_path):
    file = tmp_path / name
    write(source.state_dict(), file)
    content = file.read_bytes()
    for length in [0, 1, *range(7, len(content), len(content) // 40), len(content) - 1]:
        file.write_bytes(content[:length])
        with pytest.raises(ArtifactError, match=name):
            load_weights(network(), file)
