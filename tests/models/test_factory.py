"""`create` finds networks of ours, of timm, of torchvision and of the user, and says what is wrong otherwise."""

import importlib
import sys

import pytest
import torch
from torch import nn

from convslim import compat
from convslim.errors import ModelError
from convslim.models import create

NET = """
from torch import nn
import {sibling}

class Net(nn.Linear):
    pass

def net(width=3):
    return Net({sibling}.INPUTS, width)

def broken():
    raise KeyError("weights")

number = 3
"""


@pytest.fixture
def net_file(tmp_path):
    """A file of a user that imports its neighbor."""
    (tmp_path / "blocks_of_a_user.py").write_text("INPUTS = 5\n")
    (tmp_path / "net_of_a_user.py").write_text(NET.format(sibling="blocks_of_a_user"))
    yield tmp_path / "net_of_a_user.py"
    sys.modules.pop("blocks_of_a_user", None)
    sys.modules.pop("net_of_a_user", None)


def test_file_factory_gets_options_and_imports_its_neighbors(net_file):
    model = create(f"{net_file}:net", width=4)
    assert (model.in_features, model.out_features) == (5, 4)
    assert str(net_file.parent) not in sys.path


def test_file_is_executed_once(net_file):
    assert type(create(f"{net_file}:net")) is type(create(f"{net_file}:net"))


def test_module_factory_is_found_in_the_working_directory(net_file, monkeypatch):
    monkeypatch.chdir(net_file.parent)
    assert isinstance(create("net_of_a_user:net"), nn.Linear)


@pytest.mark.parametrize("spec", ["timm:mobilenetv2_100", "torchvision:resnet18"])
def test_library_networks_run(spec):
    model = create(spec, num_classes=7).eval()
    with torch.no_grad():
        assert model(torch.zeros(1, 3, 64, 64)).shape == (1, 7)


def test_torchvision_schemas_are_declared_only_where_the_library_does_not_load(monkeypatch):
    assert compat.import_optional("torchvision").models is not None
    monkeypatch.setattr(compat, "_loads_compiled", lambda _: True)
    assert compat.declare_torchvision_operators.__wrapped__() is None


def test_missing_package_says_how_to_install_it():
    with pytest.raises(ModelError, match=r"pip install 'convslim\[not_installed_package\]'"):
        compat.import_optional("not_installed_package")


@pytest.mark.parametrize(
    ("spec", "options", "message"),
    [
        ("resnet56_cifr", {}, "Did you mean 'resnet56_cifar'?"),
        ("timm:resnet5", {}, "has no network 'resnet5'"),
        ("torchvision:resnet5", {}, "Did you mean 'resnet50'?"),
        ("digits_cnn", {"num_clases": 3}, "unexpected keyword argument 'num_clases'"),
        ("resnet20_cifar:", {}, "names no factory"),
        ("no_such_package.mod:net", {}, "module 'no_such_package.mod' .* cannot be imported"),
        ("no_such_file.py:net", {}, "there is no file"),
        ("fractions:Fractio", {}, "has no 'Fractio'. Did you mean 'Fraction'?"),
        ("fractions:Fraction", {}, "returned a Fraction; it must return an nn.Module"),
        ("math:pi", {}, "'pi' is a float; it must be callable"),
    ],
)
def test_bad_specs_name_the_way_out(spec, options, message):
    with pytest.raises(ModelError, match=message):
        create(spec, **options)


def test_failing_user_code_is_named(net_file):
    with pytest.raises(ModelError, match=r"net_of_a_user.py:broken' failed .* KeyError: 'weights'"):
        create(f"{net_file}:broken")
    net_file.with_name("bad.py").write_text("import not_installed_package\n")
    with pytest.raises(ModelError, match=r"bad.py.* fails: ModuleNotFoundError"):
        create(f"{net_file.with_name('bad.py')}:net")


def test_a_file_that_was_imported_by_name_is_not_imported_again(tmp_path, monkeypatch):
    """A second copy would be other classes, and its custom operators would free those of the first."""
    (tmp_path / "imported_by_name.py").write_text("from torch import nn\n\n\nclass Net(nn.ReLU):\n    pass\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    module = importlib.import_module("imported_by_name")
    try:
        assert type(create(f"{tmp_path}/imported_by_name.py:Net")) is module.Net
    finally:
        del sys.modules["imported_by_name"]
