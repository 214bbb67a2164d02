"""Fundus images: finding and reading their files, and converting them to tensors."""
