"""The commands of ``python -m torchattn_blocks.retina``: a file and a dataclass for each."""
