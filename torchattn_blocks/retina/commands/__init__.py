"""What ``python -m torchattn_blocks.retina`` does: a file and a dataclass for each command."""
