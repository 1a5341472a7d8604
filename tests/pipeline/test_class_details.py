"""What a run notes of classes: confusions as counted one by one, changes since the whole network, and pictures."""

from __future__ import annotations

import base64
import io
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from PIL import Image
from torch import Tensor

from convslim.data import Split, open_data
from convslim.data.augment import Augmentation
from convslim.data.source import TensorReader
from convslim.errors import ArtifactError
from convslim.pipeline import load_recipe, run
from convslim.pipeline.class_details import confusion
from convslim.pipeline.predictions import FILE, Predictions, load_predictions
from convslim.pipeline.samples import samples
from convslim.report import RunRecord

TINY = Path(__file__).with_name("tiny.yaml")


def guesses(labels: Tensor, seed: int, size: int) -> Predictions:
    draw = torch.Generator().manual_seed(seed)
    wrong = torch.rand(len(labels), generator=draw) < 0.3
    return Predictions(labels, torch.where(wrong, torch.randint(size, labels.shape, generator=draw), labels))


def test_counts_are_those_of_every_image():
    labels = torch.arange(300) % 7
    before, now = guesses(labels, 0, 8), guesses(labels, 1, 8)
    found = confusion(now, tuple("abcdefg"), before, 2)
    pairs = {(label, answer): count for label, answer, count in found.pairs}
    for label in range(7):
        rows = [place for place in range(300) if labels[place] == label]
        then, later = ([bool(each.answers[row] == label) for row in rows] for each in (before, now))
        assert found.totals[label] == len(rows)
        assert found.right[label] == sum(later)
        assert found.lost[label] == sum(a and not b for a, b in zip(then, later, strict=True))
        assert found.won[label] == sum(b and not a for a, b in zip(then, later, strict=True))
        for answer in range(8):
            count = sum(int(now.answers[row]) == answer for row in rows)
            assert pairs.get((label, answer), 0) == (0 if answer == label else count)
    assert found.since == 2
    assert [count for *_, count in found.pairs] == sorted((count for *_, count in found.pairs), reverse=True)
    assert found.name(7) == "output 7"


def test_other_images_are_not_compared():
    labels = torch.arange(30) % 3
    found = confusion(guesses(labels, 1, 3), tuple("abc"), guesses(labels[:20], 0, 3), 1)
    assert found.since is None
    assert found.lost == ()


def test_of_many_classes_the_most_frequent_confusions_are_kept():
    labels = torch.arange(4000) % 200
    found = confusion(guesses(labels, 0, 200), tuple(map(str, range(200))), None, None)
    assert len(found.pairs) == 100
    assert len(found.right) == 200


def color_split(channels: int = 3, side: int = 80) -> Split:
    images = torch.randint(
        256, (40, channels, side, side), dtype=torch.uint8, generator=torch.Generator().manual_seed(0)
    )
    mean, std = (0.4,) * channels, (0.2,) * channels
    reader = TensorReader(images, torch.arange(40) % 4)
    return Split(reader, torch.arange(40), (channels, side, side), mean, std, Augmentation())


def changed(split: Split, lost: int, won: int) -> tuple[Predictions, Predictions]:
    labels = torch.arange(40) % 4
    before, now = labels.clone(), labels.clone()
    now[:lost] = (labels[:lost] + 1) % 4
    before[lost : lost + won] = (labels[lost : lost + won] + 1) % 4
    return Predictions(labels, now), Predictions(labels, before)


@pytest.mark.parametrize(
    ("lost", "won", "shown"), [(20, 20, (6, 6)), (2, 20, (2, 10)), (20, 1, (11, 1)), (0, 0, (0, 0))]
)
def test_lost_and_won_images_share_the_places(lost: int, won: int, shown: tuple[int, int]):
    split = color_split(side=8)
    found = samples(*changed(split, lost, won), split, 12)
    assert (sum(each.before == each.label for each in found), sum(each.after == each.label for each in found)) == shown
    assert len({each.index for each in found}) == len(found)


def test_pictures_are_the_images_without_their_normalization():
    split = color_split(side=8)
    found = samples(*changed(split, 3, 0), split, 12)
    assert isinstance(split.reader, TensorReader)
    for each in found:
        file = io.BytesIO(base64.b64decode(each.picture.partition(",")[2]))
        pixels = torch.tensor(list(Image.open(file).convert("RGB").tobytes())).view(8, 8, 3).permute(2, 0, 1)
        assert torch.equal(pixels, split.reader.images[each.index].long())


def test_pictures_are_small():
    split = color_split()
    picture = samples(*changed(split, 1, 0), split, 12)[0].picture
    assert Image.open(io.BytesIO(base64.b64decode(picture.partition(",")[2]))).size == (64, 64)


def test_what_is_no_picture_is_not_shown():
    two = color_split(channels=2, side=8)
    assert samples(*changed(two, 3, 3), two, 12) == ()
    shifted = color_split(side=8)
    shifted = replace(shifted, reader=TensorReader(torch.randn(40, 3, 8, 8), torch.arange(40) % 4))
    assert samples(*changed(shifted, 3, 3), shifted, 12) == ()
    assert samples(*changed(color_split(side=8), 3, 3), color_split(side=8), 0) == ()


@pytest.fixture(scope="module")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, RunRecord]:
    out = tmp_path_factory.mktemp("tiny") / "run"
    return out, run(load_recipe(TINY), out, quiet=True)


def test_every_evaluation_of_a_run_speaks_of_classes(tiny: tuple[Path, RunRecord]):
    _, record = tiny
    names = open_data("digits").classes
    for number, step in enumerate(record.steps, start=1):
        assert step.confusion is not None
        assert step.confusion.names == names
        assert sum(step.confusion.right) == step.correct
        assert sum(step.confusion.totals) == step.total == 64
        assert sum(count for *_, count in step.confusion.pairs) == 64 - sum(step.confusion.right)
        assert step.confusion.since == (None if number == 1 else 1)
        assert bool(step.samples) <= (number >= 4)  # nothing is cut before
    assert record.steps[-1].samples
    last = record.steps[-1].confusion
    assert last is not None
    assert sum(last.right) - sum(record.steps[0].confusion.right) == sum(last.won) - sum(last.lost)  # type: ignore[union-attr]


def test_damaged_answers_are_an_error(tiny: tuple[Path, RunRecord], tmp_path: Path):
    folder = tiny[0] / "steps" / "01-evaluate"
    assert load_predictions(folder) is not None
    assert (folder / FILE).stat().st_mode == (folder / "result.json").stat().st_mode  # whoever reads one reads both
    assert load_predictions(tmp_path) is None
    (tmp_path / FILE).write_bytes((folder / FILE).read_bytes()[:-7])
    with pytest.raises(ArtifactError, match="is damaged"):
        load_predictions(tmp_path)
