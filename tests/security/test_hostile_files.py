"""Hostile files are refused with an error of ours, and nothing that stands in them is run."""

from __future__ import annotations

import json
import zipfile
from pathlib import Path

import numpy as np
import onnx
import pytest
import torch
from onnx import TensorProto, helper
from tests.security.hostile import CODE, XML_BOMB, XML_FILE, YAML_TAGS, Payload, no_canary, pickled, yaml_bomb
from tests.test_cli import SHORT, TINY, call

import convslim
from convslim.data import open_data
from convslim.data.voc_xml import read_annotation
from convslim.errors import ArtifactError, ConvslimError, DataError, PlanError, RecipeError
from convslim.measure.session import open_session
from convslim.pipeline import load_recipe, parse_recipe
from convslim.pipeline.source_lines import read_value
from convslim.surgery import PruningPlan


@pytest.fixture(autouse=True)
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


# Weights and arrays


@pytest.mark.parametrize("suffix", [".pt", ".pth", ".th", ".safetensors"])
@pytest.mark.parametrize("form", ["torch", "pickle2", "pickle5", "zip"])
def test_weights_with_code(suffix: str, form: str, tmp_path: Path):
    path = tmp_path / f"net{suffix}"
    if form == "torch":
        torch.save({"state_dict": {"weight": Payload()}}, path)
    elif form == "zip":
        with zipfile.ZipFile(path, "w") as archive:
            archive.writestr("net/data.pkl", pickled())
            archive.writestr("../../escaped", "x")
    else:
        path.write_bytes(pickled(int(form[-1])))
    with pytest.raises(ArtifactError, match="net"):
        convslim.load_weights(torch.nn.Linear(2, 2), path)
    assert "Error:" in call("prune", "digits_cnn", "--budget", "macs=0.5", "--weights", path, "--out", "x", code=1)
    assert no_canary(tmp_path)
    assert not (tmp_path.parent / "escaped").exists()


def test_labels_with_objects(tmp_path: Path):
    from PIL import Image

    for number in range(1, 6):
        Image.new("RGB", (3200, 3200)).save(tmp_path / f"data_batch_{number}.webp")
    Image.new("RGB", (3200, 3200)).save(tmp_path / "test_batch.webp")
    np.savez(tmp_path / "labels.npz", data_batch_1=np.array([Payload()], dtype=object))
    with pytest.raises(DataError, match="cannot be read"):
        open_data(f"cifar10:{tmp_path}")
    assert no_canary(tmp_path)


def test_cifar_batches_with_code(tmp_path: Path):
    for number in range(1, 6):
        (tmp_path / f"data_batch_{number}").write_bytes(pickled())
    (tmp_path / "test_batch").write_bytes(pickled())
    with pytest.raises(DataError, match="was not executed"):
        open_data(f"cifar10:{tmp_path}")
    assert no_canary(tmp_path)


# Recipes and words of the command line


@pytest.mark.parametrize("tag", YAML_TAGS)
def test_yaml_tags(tag: str, tmp_path: Path):
    (tmp_path / "r.yaml").write_text(f"name: x\nseed: {tag}\n")
    with pytest.raises(RecipeError, match=r"r\.yaml"):
        load_recipe("r.yaml")
    for words in (
        ("run", TINY, "--set", f"seed={tag}"),
        ("inspect", "digits_cnn", "--option", f"num_classes={tag}"),
        ("prune", "digits_cnn", "--budget", f"macs={tag}", "--out", "x"),
    ):
        assert "Error:" in call(*words, code=1)
    assert no_canary(tmp_path)


@pytest.mark.parametrize(
    "text",
    [
        yaml_bomb(),
        "a: &a [*a]",
        "a: &a {b: *a}",
        "a: " + "[" * 20_000,
        "{" * 5_000,
        "seed: " + "9" * 6_000,
        "seed: 2026-99-99",
        "? [a]\n: b",
        "? {a: b}\n: c",
        "a: !!set {x: 1, y}",
        "x" * (2**20 + 1),
        "a: !!binary §",
        "a: !!omap 3",
        "a: \0",
        "\ufeff\ufeff",
    ],
    ids=lambda text: text[:12],
)
def test_texts_that_are_no_recipe(text: str):
    Path("r.yaml").write_text(text, encoding="utf-8")
    with pytest.raises(RecipeError):
        load_recipe("r.yaml")


def test_values_that_explode_on_the_command_line():
    with pytest.raises(RecipeError, match="nested too deeply"):
        read_value("[" * 20_000, "--set x")


@pytest.mark.parametrize("name", ["../../elsewhere", "/etc/elsewhere", "..", "a/b", "a\\b", "C:\\x", ".hidden", "x\ny"])
def test_names_that_lead_elsewhere(name: str, tmp_path: Path):
    change = f"name={json.dumps(name)}"
    assert "Give the folder with --out" in call("run", TINY, "--set", change, *SHORT, code=1)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("step", ["export", "quantize"])
@pytest.mark.parametrize("file", ["../x.onnx", "/tmp/x.onnx", "a\\b.onnx", "x.pt", ".."])
def test_files_that_lead_elsewhere(step: str, file: str):
    head = {"name": "r", "model": {"spec": "digits_cnn"}, "data": {"spec": "digits"}}
    with pytest.raises(RecipeError, match="file"):
        parse_recipe({**head, "steps": [{step: {"file": file}}]})


# Artifacts, plans and records


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    call("prune", "digits_cnn", "--budget", "macs=0.5", "--out", tmp_path / "small")
    return tmp_path / "small"


@pytest.mark.parametrize("spec", ["evil.py:make", "evil:make", "small/evil.py:make", "os:system"])
def test_a_folder_does_not_get_to_run_code(spec: str, folder: Path, tmp_path: Path):
    record = json.loads((folder / "record.json").read_text())
    record["model"]["spec"] = spec
    (folder / "record.json").write_text(json.dumps(record))
    reseal(folder)
    for place in (tmp_path, folder):
        (place / "evil.py").write_text(CODE)
    (folder / "evil.py").unlink()
    assert "--trust" in call("export", folder, "--out", "x.onnx", code=1)
    assert "--trust" in call("bench", folder, code=1)
    assert no_canary(tmp_path)


def test_trusted_code_is_run(folder: Path, tmp_path: Path):
    record = json.loads((folder / "record.json").read_text())
    record["model"]["spec"] = "mine.py:make"
    (folder / "record.json").write_text(json.dumps(record))
    reseal(folder)
    (tmp_path / "mine.py").write_text(
        "from convslim.models import create\n\n\ndef make():\n    return create('digits_cnn')\n"
    )
    assert "agrees" in call("export", folder, "--out", "x.onnx", "--trust")


def test_data_of_a_run_is_code_too(tmp_path: Path):
    call("run", TINY, "--out", "run", *SHORT)
    record = json.loads(Path("run/model/record.json").read_text())
    record["recipe"]["data"] = {"spec": "evil.py:make", "options": {}}
    Path("run/model/record.json").write_text(json.dumps(record))
    reseal(Path("run/model"))
    Path("evil.py").write_text(CODE)
    assert "--trust" in call("export", "run", "--out", "x.onnx", code=1)
    assert no_canary(tmp_path)


def reseal(folder: Path) -> None:
    """Checksums that fit again, as an attacker would make them."""
    import hashlib

    manifest = json.loads((folder / "artifact.json").read_text())
    for name in manifest["sha256"]:
        manifest["sha256"][name] = hashlib.sha256((folder / name).read_bytes()).hexdigest()
    del manifest["digest"]
    manifest["digest"] = hashlib.sha256(json.dumps(manifest, sort_keys=True).encode()).hexdigest()
    (folder / "artifact.json").write_text(json.dumps(manifest, indent=1))


def test_manifests_that_name_other_files(folder: Path, tmp_path: Path):
    (tmp_path / "secret").write_text("x")
    manifest = json.loads((folder / "artifact.json").read_text())
    manifest["sha256"]["../secret"] = "0" * 64
    (folder / "artifact.json").write_text(json.dumps(manifest))
    with pytest.raises(ArtifactError):
        convslim.load(folder, lambda: convslim.models.create("digits_cnn"))


@pytest.mark.parametrize(
    ("op", "target"),
    [
        ("call_function", "os.system"),
        ("call_function", "builtins.eval"),
        ("call_function", "aten.from_file.default"),
        ("call_function", "aten.__class__.mro"),
        ("call_function", "torch.load"),
        ("call_method", "__reduce__"),
        ("call_method", "numpy"),
        ("get_attr", "__globals__"),
        ("call_module", "forward.__func__"),
        ("placeholder", "x):\n import os; os.system('touch canary')\n#"),
    ],
)
def test_graphs_that_call_something_else(op: str, target: str, tmp_path: Path):
    entry = {"name": "n", "op": op, "target": target, "args": ["touch canary"], "kwargs": {}}
    entry |= {"module": "", "kind": "", "source": ""}
    end = {**entry, "name": "output", "op": "output", "target": "output", "args": [{"node": "n"}]}
    program = {"format": 1, "kind": "Net", "modules": {}, "constants": {}, "notes": [], "nodes": [entry, end]}
    from convslim.channels.program.assemble import Program, assemble

    with pytest.raises(ArtifactError):
        assemble(Program.from_data(program), {})(torch.zeros(1))
    plan = {"format": 1, "structure": "3f", "channels": {"a": 2}, "kept": {"a": [0]}, "slices": {}, "attributes": {}}
    with pytest.raises(ConvslimError):
        convslim.rebuild(torch.nn.Linear(2, 2), PruningPlan.from_json(json.dumps({**plan, "program": program})))
    assert no_canary(tmp_path)


@pytest.mark.parametrize(
    "text",
    ["[" * 50_000, "{" * 50_000, '{"format": ' + "9" * 6_000 + "}", "NaN", b"\xed\xa0\x80"],
)
def test_json_that_explodes(text: str | bytes, tmp_path: Path):
    content = text if isinstance(text, bytes) else text.encode()
    (tmp_path / "plan.json").write_bytes(content)
    with pytest.raises((PlanError, ArtifactError)):
        PruningPlan.load(tmp_path / "plan.json")
    (tmp_path / "artifact").mkdir()
    (tmp_path / "artifact" / "artifact.json").write_bytes(content)
    with pytest.raises(ArtifactError):
        convslim.load(tmp_path / "artifact")
    (tmp_path / "record.json").write_bytes(content)
    assert "Error:" in call("report", tmp_path, code=1)
    (tmp_path / "r.yaml").write_bytes(content)
    with pytest.raises(RecipeError):
        load_recipe(tmp_path / "r.yaml")


# Annotations and ONNX files


@pytest.mark.parametrize("text", [XML_BOMB, XML_FILE, XML_BOMB.encode("utf-16"), "<a>" * 200_000, "<annotation/>", ""])
def test_annotations(text: str | bytes, tmp_path: Path):
    path = tmp_path / "a.xml"
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    with pytest.raises(DataError, match=r"a\.xml"):
        read_annotation(path)


@pytest.mark.parametrize("location", ["../secret.bin", "/etc/passwd", "weights.bin"])
def test_onnx_files_that_read_others(location: str, tmp_path: Path):
    inside = tmp_path / "inside"
    inside.mkdir()
    (tmp_path / "secret.bin").write_bytes(bytes(16))
    if location == "weights.bin":
        (inside / "weights.bin").symlink_to(tmp_path / "secret.bin")
    weight = TensorProto(name="w", data_type=TensorProto.FLOAT, dims=[4], data_location=TensorProto.EXTERNAL)
    weight.external_data.add(key="location", value=location)
    graph = helper.make_graph(
        [helper.make_node("Add", ["x", "w"], ["y"])],
        "g",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, [4])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, [4])],
        [weight],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=9)
    (inside / "m.onnx").write_bytes(model.SerializeToString())
    assert onnx.load(inside / "m.onnx", load_external_data=False).graph.initializer[0].name == "w"
    with pytest.raises(ArtifactError, match=r"m\.onnx"):
        open_session(inside / "m.onnx")
