"""Segmenting many images: listing them, doing each once, and keeping account."""
