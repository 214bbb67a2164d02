"""What a `Fundus` is made of is checked where it is made."""

import numpy as np
import pytest

from torchattn_blocks.retina import Fundus

IMAGE, FULL = np.zeros((8, 9, 3), np.uint8), np.ones((8, 9), np.bool_)


@pytest.mark.parametrize(
    ("error", "part", "value", "message"),
    [
        (ValueError, "image", IMAGE[..., 0], r"image must have shape \(H, W, 3\), got \(8, 9\)"),
        (ValueError, "image", np.zeros((8, 9, 4), np.uint8), r"got \(8, 9, 4\)"),
        (TypeError, "image", IMAGE / 255, "image must be an array of type uint8, got float64"),
        (TypeError, "image", None, "image must be an array of type uint8, got NoneType"),
        (ValueError, "label", FULL[1:], r"label must have shape \(8, 9\), got \(7, 9\)"),
        (TypeError, "label", 255 * FULL, "label must be an array of type bool, got int64"),
        (ValueError, "second_label", FULL[1:], "second_label must have shape"),
        (ValueError, "fov", FULL[:, 1:], r"fov must have shape \(8, 9\), got \(8, 8\)"),
        (TypeError, "fov", None, "fov must be an array of type bool, got NoneType"),
    ],
)
def test_wrong_arrays_are_refused(error, part, value, message):
    parts = {"image": IMAGE, "label": FULL, "fov": FULL, "second_label": None}
    Fundus("1", **parts)
    with pytest.raises(error, match=f"Fundus 1: .*{message}"):
        Fundus("1", **parts | {part: value})
