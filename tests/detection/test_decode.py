"""Maps to boxes and back."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from convslim.detection.decode import decode, encode
from convslim.errors import ModelError

STRIDES = (8, 16, 32)


@settings(max_examples=40, deadline=None)
@given(st.integers(0, 2), st.integers(0, 3), st.integers(0, 5), st.integers(0, 2), st.integers(0, 10_000))
def test_encoded_boxes_decode_to_themselves(scale, row, column, slot, seed):
    generator = torch.Generator().manual_seed(seed)
    maps = tuple(torch.randn(2, 3 * 7, 4 * 2 ** (2 - n), 6 * 2 ** (2 - n), generator=generator) for n in range(3))
    stride = STRIDES[scale]
    middle = torch.tensor([column + 0.5, row + 0.5]) * stride
    reach = torch.rand(4, generator=generator) * 100 + 1
    box = torch.cat([middle - reach[:2], middle + reach[2:]])
    values = encode(box[None], torch.tensor([[column, row]]), stride)[0]
    maps[scale].view(2, 3, 7, *maps[scale].shape[2:])[1, slot, :4, row, column] = values
    found = decode(maps, STRIDES)
    start = sum(maps[n].shape[2] * maps[n].shape[3] * 3 for n in range(scale))
    place = start + (row * maps[scale].shape[3] + column) * 3 + slot
    torch.testing.assert_close(found.boxes[1, place], box, rtol=1e-4, atol=1e-3)


def test_values_of_a_place_stay_together():
    map_ = torch.arange(2 * 21 * 2 * 3, dtype=torch.float32).view(2, 21, 2, 3) / 1000
    found = decode((map_,), (8,))
    place = (1 * 3 + 2) * 3 + 1  # row 1, column 2, slot 1
    assert float(found.objectness[1, place]) == float(map_[1, 7 + 4, 1, 2])
    assert found.classes[1, place].tolist() == map_[1, 12:14, 1, 2].tolist()
    assert found.scores.shape == (2, 18, 2)
    score = found.objectness[1, place].sigmoid() * found.classes[1, place, 1].sigmoid()
    assert float(found.scores[1, place, 1]) == pytest.approx(float(score))


def test_half_precision_is_decoded_in_single():
    assert decode((torch.zeros(1, 18, 2, 2, dtype=torch.bfloat16),), (32,)).boxes.dtype == torch.float32


def test_wild_values_stay_finite():
    assert torch.isfinite(decode((torch.full((1, 18, 2, 2), 1e4),), (32,)).boxes).all()


@pytest.mark.parametrize("channels", [20, 15])
def test_maps_of_another_network_are_refused(channels):
    with pytest.raises(ModelError, match=f"has {channels} channels"):
        decode((torch.zeros(1, channels, 2, 2),), (8,))
