"""From a photograph to its map."""

import numpy as np
import pytest
import torch
from torch import nn

from torchattn_blocks.retina import vessel_probability


class Red(nn.Module):
    """Logits that tell the red value of each pixel apart, and that training would change."""

    def __init__(self):
        super().__init__()
        self.scale = nn.Parameter(torch.tensor(4.0))
        self.drop = nn.Dropout(0.9)

    def forward(self, x):
        return self.drop(x[:, :1]) * self.scale


@pytest.mark.parametrize("side", [None, 12])
def test_each_pixel_gets_its_own_probability(side):
    rng = np.random.default_rng(0)
    image = rng.integers(0, 256, (9, 11, 3), dtype=np.uint8)
    model = Red()
    probability = vessel_probability(model, image, side)
    assert probability.dtype == np.float32
    assert model.training
    np.testing.assert_allclose(probability, 1 / (1 + np.exp(-4 / 255 * image[..., 0])), rtol=1e-5)


def test_every_module_is_left_in_its_mode():
    model = Red()
    model.drop.eval()
    vessel_probability(model, np.zeros((9, 11, 3), np.uint8))
    with pytest.raises(ValueError, match="image must be of shape"):
        vessel_probability(model, np.zeros((9, 11, 3)))
    assert (model.training, model.drop.training) == (True, False)


def test_refuses_a_model_with_more_maps():
    with pytest.raises(ValueError, match="model must give one map, got 3"):
        vessel_probability(nn.Conv2d(3, 3, 1), np.zeros((9, 11, 3), np.uint8))


def test_refuses_a_side_below_the_photographs():
    with pytest.raises(ValueError, match="side must be at least 11, got 10"):
        vessel_probability(Red(), np.zeros((9, 11, 3), np.uint8), 10)
