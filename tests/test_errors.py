"""Errors form one family, and propose the nearest name."""

import inspect

import pytest

from convslim import errors

CHILDREN = [item for _, item in inspect.getmembers(errors, inspect.isclass) if item.__module__ == errors.__name__]


@pytest.mark.parametrize("kind", CHILDREN)
def test_every_error_is_a_convslim_error(kind):
    assert issubclass(kind, errors.ConvslimError)


def test_nearest_is_silent_when_nothing_is_near():
    assert errors.nearest("zzz", ["resnet", "vgg"]) == ""
