"""Weights files: safetensors that say in themselves which network they are of, and for what."""

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
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
    """Write the weights of a network, and its settings, for `load_pretrained`.

    The file is there whole or not at all: it takes its name once it is written.

    Example:
        >>> import tempfile
        >>> from torchattn_blocks.retina import Network, Settings, load_pretrained, save_weights
        >>> settings = Settings(Network(widths=(4, 8)), fov_diameter=540, side=592)
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     save_weights(Path(folder, "mine.safetensors"), settings.network.build(), settings)
        ...     trained = load_pretrained(Path(folder, "mine.safetensors"))
        >>> trained.settings == settings
        True
    """
    path = Path(path)
    partial = path.with_name(path.name + ".partial")
    tensors = {name: values.contiguous() for name, values in model.state_dict().items()}
    save_file(tensors, partial, {"settings": json.dumps(asdict(settings))})
    partial.replace(path)


def load_pretrained(weights: str | Path) -> Trained:
    """Load a trained network; nothing is fetched, and nothing in the file is executed.

    Args:
        weights: The name of weights that come with the library (``"drive"``: see the documentation
            for what they are, what they score and their limits), or the path of a file
            written by `train` or `save_weights`.

    Returns:
        The network, on the CPU and in evaluation mode, and its settings.

    Raises:
        FileNotFoundError: If there is neither such a name nor such a file.
        ValueError: If the file is no safetensors file, says nothing of its network, or holds the
            weights of another. The message names the file.

    Example:
        >>> from torchattn_blocks.retina import load_pretrained
        >>> trained = load_pretrained("drive")
        >>> trained.settings.network.model, trained.settings.side
        ('rsan', 592)
    """
    path = _SHIPPED / f"{weights}.safetensors" if str(weights) in shipped() else Path(weights)
    if not path.is_file():
        raise FileNotFoundError(
            f"{weights}: there is no such weights file, and the library's own are named "
            f"{', '.join(shipped())}"
        )
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


def shipped() -> list[str]:
    """Names of the weights that come with the library."""
    return sorted(path.stem for path in _SHIPPED.glob("*.safetensors"))
