"""`open_data`: from the words of a recipe or the command line to a `DataSource`."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping, Sequence
from dataclasses import fields, replace
from typing import Any, cast

from convslim.data.cifar10 import open_cifar10
from convslim.data.digits import open_digits
from convslim.data.imagefolder import open_image_folder
from convslim.data.open_coco import open_coco
from convslim.data.open_voc import open_voc
from convslim.data.source import DataSource, ImageSplit
from convslim.data.user import open_user_data
from convslim.errors import DataError, nearest

OPENERS: dict[str, Callable[..., DataSource]] = {
    "digits": open_digits,
    "cifar10": open_cifar10,
    "imagefolder": open_image_folder,
    "voc": open_voc,
    "coco": open_coco,
}
"""The kinds of data that convslim reads by itself."""


def open_data(
    spec: str,
    *,
    holdout: float | int = 0,
    holdout_seed: int = 0,
    mean: Sequence[float] | None = None,
    std: Sequence[float] | None = None,
    augmentation: Mapping[str, Any] | None = None,
    **options: Any,
) -> DataSource:
    """Open a data set.

    Args:
        spec: `digits` (embedded), `cifar10` (looked for in `$CONVSLIM_DATA`), `cifar10:/path`,
            `imagefolder:/path`, `voc:/path` or `coco:/path` (images with boxes), or a function of the user,
            `package.module:factory` or `path/to/file.py:factory`.
        holdout: training images to hold out for scores and searches: a share in (0, 1) or a count; 0 is none.
        holdout_seed: another seed holds out other images.
        mean, std: per channel, of images in [0, 1], instead of the data set's own.
        augmentation: fields of `Augmentation`, or of `DetectionAugmentation` for images with boxes, that differ from
            the data set's own, as `{"padding": 2}`.
        options: further arguments of the kind of data: see `open_image_folder`, `open_voc`, `open_coco`,
            `open_user_data`; a user's function gets all but `num_classes` and `workers`.

    Returns:
        The data set; its images are read when batches are asked for, or live in memory.

    Raises:
        DataError: the data set is not known, not there or damaged, or an option is wrong.

    >>> source = open_data("digits", holdout=0.1, augmentation={"padding": 2})
    >>> len(source.train), len(source.holdout), source.train.augmentation.padding
    (1293, 144, 2)
    """
    kind, _, path = spec.partition(":")
    if kind in OPENERS:
        source = _call(OPENERS[kind], spec, {"path": path} if path else {}, options)
    elif spec.rpartition(":")[2].isidentifier() and path:
        mine = {name: options.pop(name) for name in ("num_classes", "workers") if name in options}
        source = open_user_data(spec, options, **mine)
    else:
        raise DataError(
            f"data set '{spec}' is not known.{nearest(kind, OPENERS)} Write digits, cifar10, cifar10:/path, "
            "imagefolder:/path, voc:/path, coco:/path, package.module:factory or path/to/file.py:factory."
        )
    source = _adjust(source, mean, std, augmentation or {})
    return source.hold_out(holdout, seed=holdout_seed) if holdout else source


def _call(
    opener: Callable[..., DataSource], spec: str, path: Mapping[str, str], options: Mapping[str, Any]
) -> DataSource:
    """Call an opener, after a check that it has these options."""
    parameters = dict(inspect.signature(opener).parameters)
    kind, place = spec.partition(":")[0], parameters.pop("path", None)
    known = list(parameters)
    for name in options:
        if name not in known:
            raise DataError(
                f"data set '{spec}' has no option '{name}'.{nearest(name, known)} "
                f"It has {', '.join(known) or 'none of its own'}."
            )
    if path and place is None:
        raise DataError(f"data set '{spec}' has no path; write '{kind}'.")
    if not path and place is not None and place.default is inspect.Parameter.empty:
        raise DataError(f"data set '{spec}' needs a path: '{kind}:/path'.")
    return opener(**path, **options)


def _adjust(
    source: DataSource, mean: Sequence[float] | None, std: Sequence[float] | None, changes: Mapping[str, Any]
) -> DataSource:
    """The same data with another normalization and augmentation."""
    channels = source.input_shape[0]
    for name, values in (("mean", mean), ("std", std)):
        if values is not None and (len(values) != channels or (name == "std" and min(values) <= 0)):
            raise DataError(
                f"{name} is {list(values)}; it must be {channels} numbers, one per channel, and std above 0."
            )
    augmentation = source.train.augmentation
    known = [field.name for field in fields(augmentation)]
    for name in changes:
        if name not in known:
            raise DataError(f"augmentation has no '{name}'.{nearest(name, known)} It has {', '.join(known)}.")

    def adjust(split: ImageSplit, **more: Any) -> Any:
        plain = {"mean": mean and tuple(mean), "std": std and tuple(std)}
        return replace(cast(Any, split), **{name: value for name, value in plain.items() if value}, **more)

    train = adjust(source.train, augmentation=replace(augmentation, **changes))
    return replace(source, train=train, test=adjust(source.test))
