"""Artifacts: what was saved comes back to the bit, and nothing is ever half written or silently damaged."""

import copy
import errno
import json
import os
import shutil
from pathlib import Path

import pytest
import torch
import torch.nn.functional as F
from safetensors.torch import save_file
from torch import nn

from convslim import PruningPlan, load, make_plan, remove, save, trace
from convslim.conformance.case import Micro, conv_norm, head, randomize_
from convslim.errors import ArtifactError, ModelError
from convslim.surgery import artifact

X = torch.randn(2, 3, 8, 8, generator=torch.Generator().manual_seed(1))


def run(net, x):
    x = F.silu(net.stem(x))
    x = net.up(F.silu(net.grouped(net.depthwise(x)))) + net.shift
    return net.head(net.norm(x))


def build():
    """Depthwise, grouped and transposed layers, statistics, and a buffer of its own."""
    net = Micro(
        run,
        stem=conv_norm(3, 12),
        depthwise=conv_norm(12, 12, groups=12),
        grouped=nn.Conv2d(12, 8, 3, groups=2),
        up=nn.ConvTranspose2d(8, 8, 2, groups=8),
        shift=torch.randn(8, 1, 1),
        norm=nn.InstanceNorm2d(8),
        head=head(8),
    )
    randomize_(net)
    return net.eval()


NET = build()
GRAPH = trace(NET, X)
KEPT = {
    "half": {group.name: range(0, group.num_channels, 2) for group in GRAPH.prunable},
    "one": {group.name: [group.num_channels - 1] for group in GRAPH.prunable},
    "all": {},
}


@pytest.fixture
def small():
    return remove(NET, make_plan(GRAPH, KEPT["half"]), X, graph=GRAPH)


@pytest.fixture
def saved(small, tmp_path):
    return save(small, tmp_path / "net")


def state(model):
    return dict(model.named_parameters()) | dict(model.named_buffers())


def assert_equal(found, expected):
    assert state(found).keys() == state(expected).keys()
    for name, tensor in state(expected).items():
        other = state(found)[name]
        assert other.dtype == tensor.dtype
        assert torch.equal(other, tensor), name
        assert type(other) is type(tensor)


def refuse(code):
    def fail(*_args, **_options):
        raise OSError(code, os.strerror(code))

    return fail


def test_the_network_has_what_the_tests_need():
    widths = {group.name: group.num_channels for group in GRAPH.prunable}
    assert widths == {"stem.conv": 6, "grouped": 4}
    assert {count.name for count in GRAPH.attributes} == {"depthwise.conv.groups", "up.groups", "norm.num_features"}


@pytest.mark.parametrize("share", KEPT)
def test_what_was_saved_comes_back_to_the_bit(share, tmp_path):
    plan = make_plan(GRAPH, KEPT[share])
    small = remove(NET, plan, X, graph=GRAPH)
    again = load(save(small, tmp_path / "net", plan=plan), build).eval()
    assert type(again) is type(small)
    assert_equal(again, small)
    assert torch.equal(again(X), small(X))
    assert [str(module) for module in again.modules()] == [str(module) for module in small.modules()]


def test_plan_and_record_lie_beside(small, tmp_path):
    plan = make_plan(GRAPH, KEPT["half"])
    folder = save(small, str(tmp_path / "deep" / "net"), plan=plan, record={"accuracy": 0.9})
    assert folder == tmp_path / "deep" / "net"
    assert PruningPlan.load(folder / "plan.json") == plan
    assert json.loads((folder / "record.json").read_text()) == {"accuracy": 0.9}
    assert {path.name for path in folder.iterdir()} == {
        "artifact.json",
        "model.safetensors",
        "plan.json",
        "record.json",
    }


def test_an_older_artifact_is_replaced_whole(small, saved, tmp_path):
    save(small, saved, record={"old": True})
    save(NET, saved)
    assert_equal(load(saved, build), NET)
    assert {path.name for path in saved.iterdir()} == {"artifact.json", "model.safetensors"}
    assert list(tmp_path.iterdir()) == [saved]


@pytest.mark.parametrize("dtype", [torch.float64, torch.bfloat16, torch.float16])
def test_types_come_back(dtype, small, tmp_path):
    small = copy.deepcopy(small).to(dtype)
    assert_equal(load(save(small, tmp_path / "net"), build), small)


def test_frozen_parameters_and_modes_are_the_factorys(small, tmp_path):
    def frozen():
        net = build().train()
        net.head.weight.requires_grad_(False)
        return net

    again = load(save(small, tmp_path / "net"), frozen)
    assert again.training
    assert [name for name, p in again.named_parameters() if not p.requires_grad] == ["head.weight"]


def tied():
    first, second = nn.Conv2d(4, 4, 1, bias=False), nn.Conv2d(4, 4, 1, bias=False)
    second.weight = first.weight
    net = nn.Sequential(first, second)
    net.register_buffer("part", first.weight.detach()[:2])
    return net


def test_tensors_that_share_memory(tmp_path):
    net = tied()
    again = load(save(net, tmp_path / "net"), tied)
    assert_equal(again, net)
    assert again[0].weight is again[1].weight


def test_a_bias_that_folding_added_comes_back(tmp_path):
    def factory():
        return nn.Sequential(nn.Conv2d(3, 4, 1, bias=False), nn.Conv2d(4, 2, 1))

    net = factory()
    net[0].bias = nn.Parameter(torch.randn(4))
    assert_equal(load(save(net, tmp_path / "net"), factory), net)


def test_files_follow_the_umask(small, tmp_path):
    before = os.umask(0o027)
    try:
        folder = save(small, tmp_path / "net", plan=make_plan(GRAPH, {}))
    finally:
        os.umask(before)
    modes = {path.name: oct(path.stat().st_mode & 0o777) for path in (folder, *folder.iterdir())}
    assert set(modes.values()) == {"0o750", "0o640"}, modes


# ---- damage -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["model.safetensors", "plan.json", "record.json"])
@pytest.mark.parametrize("damage", ["truncated", "one bit", "empty", "missing"])
def test_damaged_files_are_named(damage, name, small, tmp_path):
    folder = save(small, tmp_path / "net", plan=make_plan(GRAPH, {}), record={"a": 1})
    file = folder / name
    content = bytearray(file.read_bytes())
    if damage == "missing":
        file.unlink()
    elif damage == "one bit":
        content[len(content) // 2] ^= 1
        file.write_bytes(content)
    else:
        file.write_bytes(content[: len(content) // 2] if damage == "truncated" else b"")
    message = r"is missing" if damage == "missing" else r"is not what was saved \(checksum differs\)"
    with pytest.raises(ArtifactError, match=rf"{name} {message}; copy the whole folder again"):
        load(folder, build)


@pytest.mark.parametrize("text", ["", "{", "[]", "null", "{}", '{"format": 1, "sha256": 3, "attributes": {}}'])
def test_a_damaged_manifest_is_named(text, saved):
    (saved / "artifact.json").write_text(text)
    with pytest.raises(ArtifactError, match=r"artifact\.json is damaged: \w+: "):
        load(saved, build)


def test_no_change_of_the_manifest_goes_unseen(saved):
    content = (saved / "artifact.json").read_bytes()
    for place in range(0, len(content), 2):
        changed = bytearray(content)
        changed[place] ^= 4
        (saved / "artifact.json").write_bytes(changed)
        with pytest.raises(ArtifactError):
            load(saved, build)


def test_another_format_is_refused(saved):
    manifest = json.loads((saved / "artifact.json").read_text())
    (saved / "artifact.json").write_text(json.dumps(manifest | {"format": 9}))
    with pytest.raises(ArtifactError, match=r"net has format 9, this version reads 1"):
        load(saved, build)


@pytest.mark.parametrize("path", ["absent", "net/model.safetensors", "."])
def test_places_without_an_artifact(path, saved, tmp_path):
    with pytest.raises(ArtifactError, match="is not a convslim artifact"):
        load(tmp_path / path, build)


def test_weights_that_cannot_be_read_are_named(saved, monkeypatch):
    monkeypatch.setattr(artifact, "load_file", refuse(errno.EIO))
    with pytest.raises(ArtifactError, match=r"model\.safetensors cannot be read: .*Input/output error"):
        load(saved, build)


# ---- the wrong factory --------------------------------------------------------------------------------------------


def other_names():
    return nn.Sequential(nn.Conv2d(3, 4, 1))


def narrower():
    net = build()
    net.stem = conv_norm(3, 4)
    return net


def other_rank():
    net = build()
    net.head = nn.Conv1d(8, 4, 1)
    return net


def other_layer():
    net = build()
    net.head = nn.Linear(8, 4)
    return net


@pytest.mark.parametrize(
    ("factory", "message"),
    [
        (other_names, r"does not hold a Sequential: \d+ tensor names differ, first '0\.bias'"),
        (narrower, r"'stem\.conv\.weight' has shape \(6, 3, 3, 3\) in .*no pruned form of \(4, 3, 3, 3\)"),
        (other_rank, r"'head\.weight' has shape .* no pruned form of \(4, 8, 1\)"),
        (other_layer, r"does not hold a Micro: 1 attribute names differ, first 'head\.groups'"),
    ],
)
def test_the_wrong_factory_is_refused(factory, message, saved):
    with pytest.raises(ModelError, match=message + r".*Give the factory that the saved model came from"):
        load(saved, factory)


# ---- places that cannot be written --------------------------------------------------------------------------------


def snapshot(folder):
    return {path.relative_to(folder): path.is_file() and path.read_bytes() for path in folder.rglob("*")}


def test_folders_with_other_things_are_left_alone(small, saved, tmp_path):
    (tmp_path / "holiday").mkdir()
    (tmp_path / "holiday" / "photo.jpg").write_bytes(b"memories")
    (saved / "notes.txt").write_text("mine")
    before = snapshot(tmp_path)
    with pytest.raises(ArtifactError, match=r"holiday exists and is not a convslim artifact; choose an empty or new"):
        save(small, tmp_path / "holiday")
    with pytest.raises(ArtifactError, match=r"photo\.jpg exists and is not a convslim artifact"):
        save(small, tmp_path / "holiday" / "photo.jpg")
    with pytest.raises(ArtifactError, match=r"net also holds 'notes\.txt', which would be lost .*move it away"):
        save(small, saved)
    assert snapshot(tmp_path) == before


def test_an_empty_folder_is_welcome(small, tmp_path):
    (tmp_path / "net").mkdir()
    assert_equal(load(save(small, tmp_path / "net"), build), small)


def stop(*_args, **_options):
    raise KeyboardInterrupt


STEPS = {
    "the folder": (Path, "mkdir"),
    "the weights": (artifact, "save_file"),
    "the texts": (Path, "write_text"),
    "to the disk": (os, "fsync"),
    "the move": (os, "replace"),
}
FAILURES = {"disk full": errno.ENOSPC, "read-only": errno.EROFS, "not allowed": errno.EACCES}


@pytest.mark.parametrize("step", STEPS)
@pytest.mark.parametrize("failure", FAILURES)
@pytest.mark.parametrize("old", [True, False])
def test_a_failed_save_leaves_everything_as_it_was(old, failure, step, small, tmp_path, monkeypatch):
    if old:
        save(NET, tmp_path / "net", record={"old": True})
    before = snapshot(tmp_path)
    with monkeypatch.context() as patch:
        patch.setattr(*STEPS[step], refuse(FAILURES[failure]))
        with pytest.raises(ArtifactError, match=rf"net cannot be written: .*{os.strerror(FAILURES[failure])}.*Choose"):
            save(small, tmp_path / "net")
    assert snapshot(tmp_path) == before
    if old:
        assert_equal(load(tmp_path / "net", build), NET)


def test_a_move_that_fails_half_way_puts_the_old_artifact_back(small, tmp_path, monkeypatch):
    save(NET, tmp_path / "net")
    before, replace, moves = snapshot(tmp_path), os.replace, []

    def second_fails(source, target):
        moves.append(target)
        if len(moves) == 2:
            raise OSError(errno.EIO, "Input/output error")
        replace(source, target)

    monkeypatch.setattr(os, "replace", second_fails)
    with pytest.raises(ArtifactError, match="net cannot be written"):
        save(small, tmp_path / "net")
    assert len(moves) == 3
    assert snapshot(tmp_path) == before


@pytest.mark.parametrize("step", ["the weights", "the texts", "to the disk"])
def test_ctrl_c_leaves_nothing_behind(step, small, saved, tmp_path, monkeypatch):
    before = snapshot(tmp_path)
    monkeypatch.setattr(*STEPS[step], stop)
    with pytest.raises(KeyboardInterrupt):
        save(NET, saved)
    assert snapshot(tmp_path) == before


def test_a_record_that_is_no_json_is_named(small, saved, tmp_path):
    before = snapshot(tmp_path)
    with pytest.raises(ArtifactError, match=r"The record cannot be written as JSON: .*Tensor"):
        save(small, saved, record={"loss": torch.zeros(1)})
    assert snapshot(tmp_path) == before


def test_nothing_is_unpickled(saved, monkeypatch):
    monkeypatch.setattr(torch, "load", None)
    monkeypatch.setattr("pickle.Unpickler", None)
    monkeypatch.setattr("pickle.loads", None)
    load(saved, build)


def test_a_copied_folder_loads(small, saved, tmp_path):
    shutil.copytree(saved, tmp_path / "elsewhere")
    shutil.rmtree(saved)
    assert_equal(load(tmp_path / "elsewhere", build), small)


def test_foreign_weights_in_place_of_the_saved_ones_are_refused(saved, small):
    save_file({name: tensor.detach() + 1 for name, tensor in state(small).items()}, saved / "model.safetensors")
    with pytest.raises(ArtifactError, match="checksum differs"):
        load(saved, build)
