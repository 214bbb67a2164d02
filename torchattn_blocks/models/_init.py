"""Initial weights."""

from torch import nn

from torchattn_blocks.layers import SpatialAttention


def init_like_keras(model: nn.Module) -> None:
    """Start as the authors' Keras code does: Glorot uniform, zero biases; attention apart."""
    for module in model.modules():
        if isinstance(module, nn.Conv2d | nn.ConvTranspose2d):
            nn.init.xavier_uniform_(module.weight)
            if module.bias is not None:
                nn.init.zeros_(module.bias)
    for module in model.modules():
        if isinstance(module, SpatialAttention):
            module.reset_parameters()
