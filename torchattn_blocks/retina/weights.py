"""Weights files: safetensors that say in themselves which network they are of, and for what."""

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import nn

from .. import UNet
from .network import Network

_SHIPPED = Path(__file__).parent / "pretrained"


@dataclass(frozen=True)
class Settings:
    """What must be known of a network, beside its weights, to use it.

    Attributes:
        network: Which network.
        fov_diameter: The size, in pixels, at which it saw the field of view of the images that
            it was trained on; other cameras' images are scaled to it.
        side: Images are padded evenly to squares of this many pixels; None: they are not.
        about: Where the weights come from, for the reader: data set, recipe, seed, epoch.
    """

    network: Network
    fov_diameter: float
    side: int | None = None
    about: Mapping[str, Any] = field(default_factory=dict)


class Trained(NamedTuple):
    """A network in evaluation mode, with its weights, and its settings."""

    model: UNet
    settings: Settings


def save_weights(path: str | Path, model: nn.Module, settings: Settings) -> None:
    """Write the weights of a network, and its settings, for `load_weights`.

    The file appears under its name once it is whole.
    """
    path = Path(path)
    partial = path.with_name(path.name + ".partial")
    tensors = {name: values.contiguous() for name, values in model.state_dict().items()}
    # Written here, and not by safetensors, whose files nobody else may read.
    partial.write_bytes(save(tensors, {"settings": json.dumps(asdict(settings))}))
    partial.replace(path)


def load_pretrained(name: str) -> Trained:
    """Load a trained network that comes with the library.

    Args:
        name: ``"drive"`` or ``"chase_db1"``, the data set that it was trained on. The documentation
            says how each was trained, what it scores and what its limits are.

    Returns:
        The network, on the CPU and in evaluation mode, and its settings. It takes RGB values in
        [0, 1] of shape (N, 3, H, W) and returns logits; `segment` does the rest.

    Raises:
        ValueError: If there are no weights of that name.

    Example:
        >>> from torchattn_blocks.retina import load_pretrained
        >>> trained = load_pretrained("drive")
        >>> trained.settings.network.model, trained.settings.fov_diameter
        ('rsan', 535.0)
    """
    if name not in shipped():
        raise ValueError(
            f"load_pretrained: name must be one of {', '.join(shipped())}, got {name!r}; "
            "load_weights loads a file"
        )
    return load_weights(_SHIPPED / f"{name}.safetensors")


def load_weights(path: str | Path) -> Trained:
    """Load a trained network from a file that `train` or `save_weights` wrote.

    Nothing in the file is executed.

    Args:
        path: The file.

    Returns:
        The network, on the CPU and in evaluation mode, and its settings.

    Raises:
        FileNotFoundError: If there is no such file.
        ValueError: If the file is no safetensors file, does not say which network it is of, or
            holds the weights of another. The message names the file.

    Example:
        >>> import tempfile
        >>> from pathlib import Path
        >>> from torchattn_blocks.retina import Network, Settings, load_weights, save_weights
        >>> settings = Settings(Network("backbone", widths=(4, 8)), fov_diameter=540)
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     path = Path(folder, "mine.safetensors")
        ...     save_weights(path, settings.network.build(), settings)
        ...     trained = load_weights(path)
        >>> trained.settings == settings
        True
    """
    path = Path(path)
    if not path.is_file():
        raise FileNotFoundError(f"{path}: there is no such weights file")
    try:
        with safe_open(path, framework="pt") as file:
            said = (file.metadata() or {}).get("settings")
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    except SafetensorError as cause:
        raise ValueError(f"{path}: not a safetensors file ({cause})") from cause
    if said is None:
        raise ValueError(
            f"{path}: says nothing of its network. Write weights with save_weights, or load them "
            "into a network of your own with load_state_dict."
        )
    try:
        known = json.loads(said)
        network = known["network"]
        network = Network(**{**network, "widths": tuple(network["widths"])})
        settings = Settings(**{**known, "network": network})
        model = settings.network.build()
        model.load_state_dict(tensors)
    except (KeyError, TypeError, ValueError, RuntimeError) as cause:
        raise ValueError(f"{path}: settings and weights make no network ({cause})") from cause
    return Trained(model.eval(), settings)


def named_weights(name_or_path: str) -> Trained:
    """Load weights as the commands take them: a name of the library's own, or else a file."""
    if name_or_path in shipped():
        return load_pretrained(name_or_path)
    try:
        return load_weights(name_or_path)
    except FileNotFoundError as error:
        raise FileNotFoundError(f"{error}; the library's own are {', '.join(shipped())}") from None


def shipped() -> list[str]:
    """Names of the weights that come with the library."""
    return sorted(path.stem for path in _SHIPPED.glob("*.safetensors"))
