"""The device that commands compute on."""

import torch

from .weights import Trained


def to_accelerator(trained: Trained) -> Trained:
    """Move a network to the machine's accelerator, if there is one."""
    device = torch.accelerator.current_accelerator(check_available=True)
    return trained if device is None else trained._replace(model=trained.model.to(device))
