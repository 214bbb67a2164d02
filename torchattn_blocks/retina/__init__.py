"""Retinal vessel segmentation on top of the layers: data, training, scores and pictures."""
