"""Attention and regularisation layers for PyTorch, and RSAN assembled from them."""

__version__ = "0.1.0.dev0"
