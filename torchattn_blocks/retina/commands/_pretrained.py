"""The options --pretrained and --freeze."""

import hashlib
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from torch import nn

from ..._modules import members, picked
from ..._torch import BatchNorm
from ..network import Network
from ..weights import Trained, shipped, trained_on


def start_from(model: nn.Module, network: Network, trained: Trained, name: str) -> None:
    """Give a model the weights of a trained one.

    Raises:
        ValueError: If the networks differ in their weights.
    """
    try:
        network.check_describes("train", trained.model)
    except ValueError as cause:
        has = trained.settings.network
        raise ValueError(
            f"--pretrained {name} is a network {has.model} of widths {has.widths}. Leave out "
            "--model, --widths, --attention and a --config of another network, or use other "
            f"weights. ({cause})"
        ) from None
    model.load_state_dict(trained.model.state_dict())


def freeze(model: nn.Module, patterns: Sequence[str]) -> None:
    """Stop training the modules that the patterns pick; statistics of norms stay unchanged, too.

    Raises:
        ValueError: If a pattern picks nothing, or nothing is left to be trained.
    """
    if not patterns:
        return
    among = list(members(model, inserted=True).values())
    for member in picked("train --freeze", model, among, list(patterns)):
        member.module.requires_grad_(False)
        for module in member.module.modules():
            if isinstance(module, BatchNorm):
                module.eval()
    if not any(weights.requires_grad for weights in model.parameters()):
        raise ValueError(f"--freeze {' '.join(patterns)} leaves no weight to be trained")


def origin(trained: Trained, name: str, patterns: Sequence[str]) -> dict[str, Any]:
    """Where weights come from and which stay unchanged, for the record of a training."""
    digest = hashlib.sha256()
    for key, values in trained.model.state_dict().items():
        digest.update(key.encode())
        digest.update(values.cpu().numpy().tobytes())
    is_file = name.lower() not in shipped() or Path(name).is_file()
    return {
        "weights": str(Path(name).resolve()) if is_file else name.lower(),
        "sha256": digest.hexdigest()[:16],
        "dataset": "+".join(trained_on(trained.settings)),
        "fov_diameter": trained.settings.fov_diameter,
        "freeze": list(patterns),
    }
