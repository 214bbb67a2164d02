"""The record of a training: images, model, recipe, machine and versions, as plain data."""

import hashlib
import json
import platform
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict
from importlib.metadata import version
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from ... import __version__
from ..fundus import Fundus
from ..network import Network
from .recipe import Recipe

NOTES = "notes"  # the part that may differ when a training is resumed
_SHOWN = 3  # differences in a message


def record_of(
    model: nn.Module,
    network: Network | None,
    recipe: Recipe,
    dataset: str,
    images: Mapping[str, Sequence[Fundus]],
    auxiliary: Mapping[str, NDArray[np.floating]] | None,
    machine: Mapping[str, Any],
    pretrained: Mapping[str, Any] | None,
) -> dict[str, Any]:
    """The record of a training. `images` has the images of each part, `recipe` is resolved."""
    record = {
        "versions": {name: version(name) for name in ("torch", "numpy", "monai")}
        | {"torchattn_blocks": __version__},
        "machine": dict(machine),
        "dataset": dataset,
        "model": {
            "class": type(model).__name__,
            "layers": hashlib.sha256(repr(model).encode()).hexdigest()[:16],
            "parameters": sum(weights.numel() for weights in model.parameters()),
            "frozen": _frozen(model),
        }
        | (asdict(network) if network is not None else {}),
        **({} if pretrained is None else {"pretrained": dict(pretrained)}),
        "recipe": recipe.as_data(),
        "images": {
            part: {fundus.name: _fingerprint(fundus, auxiliary) for fundus in some}
            for part, some in images.items()
        },
        NOTES: {
            "python": platform.python_version(),
            "accelerate": version("accelerate"),
            "threads": torch.get_num_threads(),
            "cpu": torch.backends.cpu.get_cpu_capability(),
            "gpu": torch.cuda.get_device_name() if torch.cuda.is_available() else None,
            "memory_efficient": getattr(model, "memory_efficient", False),
        },
    }
    return json.loads(json.dumps(record))  # as JSON gives it back: no tuples


def _frozen(model: nn.Module) -> list[str]:
    """The names of weights without gradients, and of modules kept in evaluation."""
    weights = [name for name, w in model.named_parameters() if not w.requires_grad]
    modules = [name for name, m in model.named_modules() if model.training and not m.training]
    return weights + modules


def differences(was: Mapping[str, Any], now: Mapping[str, Any]) -> str:
    """What differs between two records, in words; empty if nothing does."""
    old, new = map(_compared, (was, now))
    found = [*_differences(old, new)]
    more = len(found) - _SHOWN
    return "; ".join([*found[:_SHOWN], *([f"and {more} more"] if more > 0 else [])])


def _compared(record: Mapping[str, Any]) -> dict[str, Any]:
    """What must stay the same in a record: the contents of weights count, not the file's place."""
    parts = {name: part for name, part in record.items() if name != NOTES}
    if "pretrained" in parts:
        before = parts["pretrained"].items()
        parts["pretrained"] = {name: value for name, value in before if name != "weights"}
    return parts


def _differences(was: Mapping[str, Any], now: Mapping[str, Any], above: str = "") -> Iterator[str]:
    for name in dict.fromkeys([*was, *now]):
        old, new = was.get(name, "absent"), now.get(name, "absent")
        if isinstance(old, Mapping) and isinstance(new, Mapping):
            yield from _differences(old, new, f"{above}{name}.")
        elif old != new:
            yield f"{above}{name} was {old}, got {new}"
    if was.keys() == now.keys() and [*was] != [*now]:  # images train in their order
        yield f"the order of {above[:-1]} was {', '.join(was)}, got {', '.join(now)}"


def _fingerprint(fundus: Fundus, auxiliary: Mapping[str, NDArray[np.floating]] | None) -> str:
    """A hash of everything that a training sees of an image."""
    maps: list[Any] = [fundus.image, fundus.label, fundus.fov]
    if auxiliary is not None and fundus.name in auxiliary:
        maps.append(auxiliary[fundus.name])
    digest = hashlib.sha256()
    for array in maps:
        digest.update(f"{np.shape(array)}".encode())
        digest.update(np.ascontiguousarray(array).tobytes())
    return digest.hexdigest()[:16]
