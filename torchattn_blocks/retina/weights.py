"""Weights files: safetensors files that also hold the settings of their network."""

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from importlib import import_module
from pathlib import Path
from typing import Any, NamedTuple

from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import nn

from .. import UNet
from .._check import check_ints, check_kind, check_numbers, make_plain
from .network import Network
from .write import write_whole

_PACKAGE = "torchattn_retina_weights"  # of the distribution in the folder `weights`


@dataclass(frozen=True)
class Settings:
    """What you need to know to use trained weights.

    Attributes:
        network: Name and options of the network.
        fov_diameter: Diameter of the field of view in the training images, in pixels. `segment`
            resizes images to it.
        side: Images are padded with zeros to squares of `side` x `side` pixels. None: no padding.
        about: Where the weights come from, for information: data set, recipe, seed, epoch.

    Raises:
        TypeError: If `network` is not a `Network`, `fov_diameter` not a number or `side` not an
            int.
        ValueError: If `fov_diameter` is not above 0 and finite, or `side` below 1.

    Example:
        >>> from torchattn_blocks.retina import Network, Settings
        >>> settings = Settings(Network("rsan"), fov_diameter=535, side=592)
    """

    network: Network
    fov_diameter: float
    side: int | None = None
    about: Mapping[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        """Check types and bounds."""
        make_plain(self)
        check_kind("Settings", Network, network=self.network)
        check_numbers("Settings", 0, ends="(]", fov_diameter=self.fov_diameter)
        if self.side is not None:
            check_ints("Settings", 1, side=self.side)


class Trained(NamedTuple):
    """A trained network.

    Attributes:
        model: The network with its weights, in evaluation mode.
        settings: How to use it.

    Example:
        >>> from torchattn_blocks.retina import Network, Settings, Trained
        >>> network = Network("unet")
        >>> trained = Trained(network.build().eval(), Settings(network, fov_diameter=535))
    """

    model: UNet
    settings: Settings


def check_trained(owner: str, trained: object) -> None:
    """Raise `TypeError` unless `trained` is a network with its settings."""
    if isinstance(trained, Trained):
        return
    remedy = ""
    if isinstance(trained, nn.Module):
        remedy = ". Pass all that load_pretrained or load_weights returned, not its model alone"
    elif isinstance(trained, (str, Path)):
        loads = "load_pretrained" if str(trained) in shipped() else "load_weights"
        remedy = f". Pass {loads}({str(trained)!r})"
    raise TypeError(f"{owner}: trained must be Trained, got {type(trained).__name__}{remedy}")


def save_weights(path: str | Path, model: nn.Module, settings: Settings) -> None:
    """Write the weights of a network and its settings to a file, for `load_weights`.

    Args:
        path: The file. It appears only when it is complete, so an interrupted call never leaves
            half a file.
        model: The network.
        settings: Its settings; ``settings.network`` must describe `model`.

    Raises:
        ValueError: If ``settings.network`` has weights of other names or shapes than `model`, or is
            not a network: `load_weights` could not read the file.
        OSError: If the file cannot be written.

    Example:
        >>> import tempfile
        >>> from pathlib import Path
        >>> from torchattn_blocks.retina import Network, Settings, save_weights
        >>> network = Network("backbone", widths=(4, 8))
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     path = Path(folder, "mine.safetensors")
        ...     save_weights(path, network.build(), Settings(network, fov_diameter=540))
        ...     path.is_file()
        True
    """
    settings.network.check_describes("save_weights", model)
    tensors = {name: values.contiguous() for name, values in model.state_dict().items()}
    # Not with safetensors' save_file: only the owner may read its files.
    write_whole(Path(path), save(tensors, {"settings": json.dumps(asdict(settings))}))


def load_pretrained(name: str) -> Trained:
    """Load a trained network of the distribution ``torchattn-retina-weights``.

    The extra ``[retina]`` installs it; nothing is downloaded.

    Args:
        name: The data set that it was trained on, ``"drive"`` or ``"chase_db1"``, or
            ``"chase_db1-v1"`` for the first version of the latter. A page of the documentation
            tells how each was trained, its scores and its limits.

    Returns:
        The network, on the CPU and in evaluation mode, and its settings. The network takes RGB
        values in [0, 1] of shape (N, 3, H, W) and returns logits. `segment` takes images.

    Raises:
        ValueError: If no weights have this name.
        ModuleNotFoundError: If ``torchattn-retina-weights`` is not installed.

    Example:
        >>> from torchattn_blocks.retina import load_pretrained
        >>> trained = load_pretrained("drive")
        >>> trained.settings.network.model, trained.settings.fov_diameter
        ('rsan', 535.0)
    """
    files = _shipped_files()
    if name not in files:
        raise ValueError(
            f"load_pretrained: name must be one of {', '.join(files)}, got {name!r}; "
            "load_weights loads a file"
        )
    return load_weights(files[name])


def load_weights(path: str | Path) -> Trained:
    """Load a trained network from a file that `train` or `save_weights` wrote.

    Nothing in the file is executed.

    Args:
        path: The file.

    Returns:
        The network, on the CPU and in evaluation mode, and its settings.

    Raises:
        FileNotFoundError: If the file does not exist.
        ValueError: If the file is not a safetensors file, has no settings, or its settings do not
            fit its weights.

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
        raise FileNotFoundError(f"{path}: this weights file does not exist")
    try:
        with safe_open(path, framework="pt") as file:
            said = (file.metadata() or {}).get("settings")
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    except SafetensorError as cause:
        raise ValueError(f"{path}: not a safetensors file ({cause})") from cause
    if said is None:
        raise ValueError(
            f"{path}: the file has no settings of its network. Write weights with save_weights, or "
            "load these with load_state_dict into a network of your own."
        )
    try:
        known = json.loads(said)
        settings = Settings(**{**known, "network": Network.from_data(known["network"])})
        model = settings.network.build()
        model.load_state_dict(tensors)
    except (KeyError, TypeError, ValueError, RuntimeError) as cause:
        raise ValueError(f"{path}: its settings do not fit its weights ({cause})") from cause
    return Trained(model.eval(), settings)


def named_weights(name_or_path: str) -> Trained:
    """Load weights by the name of shipped weights or the path of a file, as commands do."""
    return load_weights(weights_file(name_or_path))


def weights_file(name_or_path: str) -> Path:
    """The file of shipped weights with this name, or the file at this path.

    The name may be in capitals if no file has this path.

    Raises:
        FileNotFoundError: If there is none.
    """
    names, path = shipped(), Path(name_or_path)
    if name_or_path in names:
        return _shipped_files()[name_or_path]
    if path.is_file():
        return path
    if name_or_path.lower() in names:
        return _shipped_files()[name_or_path.lower()]
    try:
        known = f"shipped weights are {', '.join(_shipped_files())}"
    except ModuleNotFoundError as missing:
        known = str(missing)
    raise FileNotFoundError(f"{path}: this weights file does not exist; {known}")


def trained_on(settings: Settings) -> list[str]:
    """The data sets of a training and of the trainings that its weights started from, each once."""
    before = settings.about.get("pretrained") or {}
    joined = [settings.about.get("dataset"), before.get("dataset")]
    return list(dict.fromkeys(name for names in joined if names for name in names.split("+")))


def shipped() -> list[str]:
    """Names of the installed weights: empty without ``torchattn-retina-weights``."""
    try:
        return [*_shipped_files()]
    except ModuleNotFoundError:
        return []


def _shipped_files() -> dict[str, Path]:
    """Files of the shipped weights by name."""
    try:
        package = import_module(_PACKAGE)
    except ModuleNotFoundError as error:
        raise ModuleNotFoundError(
            f"shipped weights need {_PACKAGE}, of the extra [retina]. In a clone of the "
            "repository: pip install '.[retina]'",
            name=_PACKAGE,
        ) from error
    files = Path(package.__path__[0]).glob("*.safetensors")
    return dict(sorted((path.stem, path) for path in files))
