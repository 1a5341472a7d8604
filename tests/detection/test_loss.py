"""The loss: gradients, what it pulls at, and what it leaves alone."""

import pytest
import torch

from convslim.data.objects import Objects
from convslim.detection.decode import decode, encode
from convslim.detection.loss import detection_loss

STRIDES = (8, 16, 32)


def maps(seed=0, dtype=torch.float32, classes=2):
    generator = torch.Generator().manual_seed(seed)
    sizes = ((8, 8), (4, 4), (2, 2))
    return tuple(torch.randn(2, 3 * (5 + classes), *size, generator=generator, dtype=dtype) * 0.3 for size in sizes)


def objects(weight=1.0):
    boxes = torch.tensor([[8.0, 8, 24, 30], [4, 4, 60, 50], [30, 30, 50, 45]])
    found = Objects.of(boxes, torch.tensor([0, 1, 1]))
    return [
        Objects(found.boxes, found.labels, found.difficult, found.weights * weight),
        Objects.of(boxes[:0], torch.zeros(0)),
    ]


def test_gradients_are_those_of_finite_differences():
    given = [map_.requires_grad_() for map_ in maps(dtype=torch.float64)]
    wanted = [Objects(o.boxes.double(), o.labels, o.difficult, o.weights.double()) for o in objects()]
    assert torch.autograd.gradcheck(
        lambda *found: detection_loss(found, wanted, STRIDES).total, given, eps=1e-6, atol=1e-5, nondet_tol=0.0
    )


def test_perfect_maps_have_hardly_any_loss():
    wanted = objects()
    given = maps()
    for map_ in given:
        map_.view(2, 3, 7, -1)[:, :, 4] = -20.0
    for label, (box, scale, row, column) in enumerate(
        [(wanted[0].boxes[0], 0, 2, 2), (wanted[0].boxes[1], 1, 1, 2), (wanted[0].boxes[2], 0, 4, 5)]
    ):
        values = given[scale].view(2, 3, 7, *given[scale].shape[2:])[0, 0, :, row, column]
        values[:4] = encode(box[None], torch.tensor([[column, row]]), STRIDES[scale])[0]
        values[4] = 20.0
        values[5:] = torch.tensor([-20.0, -20.0])
        values[5 + int(wanted[0].labels[label])] = 20.0
    loss = detection_loss(given, wanted, STRIDES)
    assert float(loss.boxes) < 1e-4
    assert float(loss.objectness) < 1e-4
    assert float(loss.classes) < 3 * 2 * 0.01 * 20 / 2 / 2 + 1e-3  # what smoothing by 0.01 costs at logits of 20


def test_images_without_objects_have_background_only():
    wanted = [Objects.of(torch.zeros(0, 4), torch.zeros(0))] * 2
    loss = detection_loss(maps(), wanted, STRIDES)
    assert (float(loss.boxes), float(loss.classes)) == (0.0, 0.0)
    assert float(loss.objectness) > 0


def test_weights_multiply_the_terms_of_their_object():
    full, half = (detection_loss(maps(), objects(weight), STRIDES) for weight in (1.0, 0.5))
    assert float(half.boxes) == pytest.approx(float(full.boxes) / 2)
    assert float(half.classes) == pytest.approx(float(full.classes) / 2)


def test_boxes_that_overlap_an_object_are_no_background():
    given = maps()
    box = decode(given, STRIDES).boxes[0, 7]
    near = Objects.of(box[None], torch.tensor([0]))  # belongs to slot 0 of the cell, place 6
    far = Objects.of(box[None] + 40, torch.tensor([0]))
    empty = Objects.of(torch.zeros(0, 4), torch.zeros(0))
    given[0].requires_grad_()
    gradients = []
    for wanted in (near, far):
        loss = detection_loss(given, [wanted, empty], STRIDES).objectness
        (gradient,) = torch.autograd.grad(loss, given[0])
        gradients.append(float(gradient.view(2, 3, 7, 64)[0, 1, 4, 2].abs()))  # place 7: cell 2, slot 1
    assert gradients[0] == 0.0
    assert gradients[1] > 0.0


def test_half_precision_maps_give_a_finite_loss():
    loss = detection_loss(tuple(map_.bfloat16() for map_ in maps()), objects(), STRIDES)
    assert torch.isfinite(loss.total)
