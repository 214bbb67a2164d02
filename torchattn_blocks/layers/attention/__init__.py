"""The attention layers. All but the gate keep one contract: `forward(x)` is `x` times its map."""
