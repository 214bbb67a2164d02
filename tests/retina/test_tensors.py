"""Padding as the paper does it, resizing, and back."""

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from torchattn_blocks.retina.data.tensors import (
    crop_evenly,
    image_tensor,
    mask_tensor,
    pad_evenly,
    resized_image,
    resized_map,
    scaled_size,
)


@given(st.integers(1, 40), st.integers(1, 40), st.integers(0, 30))
def test_cropping_undoes_padding(height, width, more):
    x = torch.randn(2, height, width)
    padded = pad_evenly(x, max(height, width) + more)
    assert padded.shape[1:] == (max(height, width) + more,) * 2
    assert torch.equal(crop_evenly(padded, height, width), x)
    assert padded.count_nonzero() == x.count_nonzero()


def test_drive_is_padded_by_4_rows_and_13_and_14_columns():
    ones = pad_evenly(torch.ones(1, 584, 565), 592)[0]
    rows, columns = ones.any(1).nonzero(), ones.any(0).nonzero()
    assert (rows.min(), rows.max(), columns.min(), columns.max()) == (4, 587, 13, 577)


def test_images_are_scaled_and_maps_are_zeros_and_ones():
    image = np.arange(2 * 3 * 3, dtype=np.uint8).reshape(2, 3, 3) * 15
    tensor = image_tensor(image)
    assert tensor.shape == (3, 2, 3)
    assert tensor.dtype == torch.float32
    assert tensor[1, 0, 2].item() == pytest.approx(image[0, 2, 1] / 255)
    target = mask_tensor(np.array([[True, False]]), side=2)
    assert target.tolist() == [[[1.0, 0.0], [0.0, 0.0]]]


def test_refuses_what_does_not_fit():
    with pytest.raises(ValueError, match="side must be at least 10, got 9"):
        pad_evenly(torch.ones(1, 10, 4), 9)


def test_images_are_resized_without_aliasing():
    board = np.indices((40, 60)).sum(0) % 2 * 255
    image = np.stack([board] * 3, -1).astype(np.uint8)
    small = resized_image(image, 0.5)
    assert small.shape == (20, 30, 3)
    assert abs(small.astype(int) - 127).max() < 12  # grey, not black and white
    assert resized_image(image, 1.01) is image  # too little to be worth a blur
    assert resized_image(image, 1.5).shape == (60, 90, 3)
    assert scaled_size((1, 3), 0.1) == [1, 1]


def test_maps_are_resized_within_their_bounds_and_back():
    smooth = torch.sin(torch.linspace(0, 3, 48)).outer(torch.cos(torch.linspace(0, 1.5, 36)))[None]
    small = resized_map(smooth, (24, 18))
    assert small.shape == (1, 24, 18)
    torch.testing.assert_close(resized_map(small, (48, 36)), smooth, rtol=0, atol=0.06)
    assert resized_map(smooth, (48, 36)) is smooth
    large = resized_map((torch.rand(1, 9, 9) > 0.5).float(), (30, 30))
    assert 0 <= large.min() <= large.max() <= 1
