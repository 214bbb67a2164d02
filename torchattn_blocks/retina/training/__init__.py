"""Training: recipe, augmentation, loss, loop and checkpoints."""
