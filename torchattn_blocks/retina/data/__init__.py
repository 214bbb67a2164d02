"""Fundus images: where they lie, how they are read, and how a network takes them."""
