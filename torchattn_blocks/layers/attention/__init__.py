"""The attention layers. In all except the gate, `forward(x)` is `x` times its map."""
