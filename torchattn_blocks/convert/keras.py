"""Load weights of RSAN, SD-Unet or SA-UNet that Keras saved into networks of this library.

Keras names a layer by its kind and a number: ``conv2d``, ``conv2d_1``, ... in the order in which
the authors' code makes them. Convolutions, transposed convolutions and batch normalisations are
counted separately. `UNet` has the layers of each kind in the same order.
"""

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor, nn

from .._check import check_kind
from .._torch import buffers, parameters
from ..layers import SpatialAttention
from ..models.unet_factory import UNet
from ._few import few

OWNER = "from_keras"
# For each kind, the names of a layer's arrays, in the order of Keras 3, and of our tensors.
KERNEL = {"kernel": "weight", "bias": "bias"}
NORM = {
    "gamma": "weight",
    "beta": "bias",
    "moving_mean": "running_mean",
    "moving_variance": "running_var",
}
KINDS: dict[str, tuple[type[nn.Module], dict[str, str]]] = {
    "conv2d": (nn.Conv2d, KERNEL),
    "conv2d_transpose": (nn.ConvTranspose2d, KERNEL),
    "batch_normalization": (nn.BatchNorm2d, NORM),
}


class Array(NamedTuple):
    """An array, and its name in the file or dictionary."""

    name: str
    values: np.ndarray[Any, Any]


class Place(NamedTuple):
    """Where an array goes: a tensor of the network, its key, and whether its channels are swapped.

    The two channels are for the maximum and the mean; the authors have the mean first.
    """

    tensor: Tensor
    key: str
    swapped: bool


def from_keras(model: UNet, weights: str | Path | Mapping[str, Any]) -> UNet:
    """Fill `rsan`, `sd_unet` or `sa_unet` with weights that the authors' Keras code saved.

    This transposes kernels and swaps the two channels of an attention's kernel, since the authors'
    code has the mean before the maximum. `UNet.predict_proba` then gives the probabilities of the
    Keras model.

    Args:
        model: The network, changed in place. The authors upsample with kernels of 3 x 3: for RSAN,
            pass ``rsan(up_kernel_size=3)``.
        weights: A file in HDF5 (``.h5``), as ``model.save``, ``model.save_weights`` and
            ``ModelCheckpoint`` of Keras 2, tf.keras and Keras 3 write; or arrays by name, such as
            ``{w.path: w.numpy() for w in keras_model.weights}``. Names end with the layer and the
            array, as in ``"conv2d_3/kernel:0"``. A file needs h5py, from the extra ``[keras]``.

    Returns:
        The network. Options that are not in the weights stay as they are: eps, for example, which
        the presets take from the authors' code. With several output channels, the Keras model gives
        the sigmoid of each: use ``predict_proba(x, multi_label=True)``.

    Warning:
        If layers of equal shape were made in another order than in the authors' code, this cannot
        be detected. Compare the probabilities of one image.

    Raises:
        TypeError: If `model` is not a `UNet`, `weights` neither a path nor a mapping, or an array
            does not hold real numbers.
        FileNotFoundError: If there is no such file.
        ModuleNotFoundError: If h5py is not installed.
        ValueError: If the file is not HDF5, `model` has layers of other kinds, or arrays are
            missing, left over or of other shapes. `model` is then as it was.

    Example:
        >>> import numpy as np
        >>> from torchattn_blocks import sd_unet
        >>> from torchattn_blocks.convert import from_keras
        >>> arrays = {}
        >>> for i, (width, channels) in enumerate([(4, 3), (4, 4), (8, 4), (8, 8), (4, 8), (4, 4)]):
        ...     arrays[f"conv2d_{i}/kernel"] = np.ones((3, 3, channels, width))
        ...     arrays[f"conv2d_{i}/bias"] = np.zeros(width)
        >>> arrays["conv2d_6/kernel"], arrays["conv2d_6/bias"] = np.ones((1, 1, 4, 1)), np.zeros(1)
        >>> arrays["conv2d_transpose/kernel"] = np.ones((3, 3, 4, 8))
        >>> arrays["conv2d_transpose/bias"] = np.zeros(4)
        >>> model = from_keras(sd_unet(widths=(4, 8)), arrays)
    """
    check_kind(OWNER, UNet, model=model)
    check_kind(OWNER, str, Path, Mapping, weights=weights)
    given = _arrays(weights) if isinstance(weights, Mapping) else _read(Path(weights))
    theirs = _by_layer(given)
    if not any(kind in KINDS for kind, _ in theirs):
        raise ValueError(
            f"{OWNER}: weights must have names as Keras gives them, such as 'conv2d_3/kernel', got "
            f"{few([array.name for array in given])}"
        )
    pairs: list[tuple[Array, Place]] = []
    missing: list[str] = []
    for kind, layers in _by_kind(model).items():
        numbers = sorted(number for known, number in theirs if known == kind)
        if len(numbers) != len(layers):  # the numbers show which one is missing
            numbers = list(range(numbers[0], numbers[0] + len(layers))) if numbers else []
        for i, layer in enumerate(layers):
            arrays = theirs.get((kind, numbers[i]), {}) if numbers else {}
            for name, place in layer.items():
                if name in arrays:
                    pairs.append((arrays.pop(name), place))
                else:
                    missing.append(f"{name} of {kind} number {i + 1} (for {place.key})")
    left = [array.name for arrays in theirs.values() for array in arrays.values()]
    if missing or left:
        raise ValueError(
            f"{OWNER}: weights must be those of this network: missing are {few(missing)}, left "
            f"over are {few(left)}"
        )
    filled = [(place.tensor, _converted(array, place)) for array, place in pairs]
    with torch.no_grad():
        for tensor, values in filled:
            tensor.copy_(values)
    return model


def _arrays(weights: Mapping[str, Any]) -> list[Array]:
    for name in weights:
        if not isinstance(name, str):
            raise TypeError(f"{OWNER}: weights must have names that are strings, got {name!r}")
    return [Array(name, _numbers(name, values)) for name, values in weights.items()]


def _numbers(name: str, values: Any) -> np.ndarray[Any, Any]:
    """An array as numbers in this machine's format."""
    if isinstance(values, Tensor):
        values = values.detach().cpu().double()
    array = np.asarray(values)
    if array.dtype.kind not in "fiu" and array.dtype.name != "bfloat16":
        raise TypeError(f"{OWNER}: {name} must be an array of real numbers, got {array.dtype}")
    return array.astype(np.float64)


def _read(path: Path) -> list[Array]:
    """The arrays of a file, without the optimiser's."""
    if not path.is_file():
        raise FileNotFoundError(f"{OWNER}: there is no file {path}")
    try:
        import h5py
    except ModuleNotFoundError as error:
        raise ModuleNotFoundError(
            f"{OWNER}: h5py is missing, which reads {path}. In a clone of the repository: "
            "pip install '.[keras]'",
            name="h5py",
        ) from error
    found: list[Array] = []

    def keep(name: str, item: object) -> None:
        if isinstance(item, h5py.Dataset) and not name.startswith(("optimizer", "top_level")):
            found.append(Array(name, _numbers(name, item)))

    try:
        with h5py.File(path) as file:
            file.visititems(keep)
    except OSError as error:
        hint = "; Keras writes one with save_weights('x.weights.h5')"
        raise ValueError(
            f"{OWNER}: {path} must be an HDF5 file that can be read, got: {error}{hint}"
        ) from error
    return found


def _by_layer(given: list[Array]) -> dict[tuple[str, int], dict[str, Array]]:
    """Arrays by kind and number of their layer. Arrays without a kind count as another kind."""
    layers: dict[tuple[str, int], dict[str, Array]] = {}
    for i, array in enumerate(given):
        if "seed_generator" in array.name:  # the random state of a dropout layer
            continue
        parts = array.name.partition(":")[0].split("/")
        name = parts.pop()
        if parts and parts[-1] == "vars":  # Keras 3 numbers the arrays of a layer
            parts.pop()
        match = re.fullmatch(r"(.*?)(?:_(\d+))?", parts[-1] if parts else "")
        kind, number = (match[1], int(match[2] or 0)) if match else ("", 0)
        if kind in KINDS and name.isdigit():
            name = dict(enumerate(KINDS[kind][1])).get(int(name), name)
        of_layer = layers.setdefault((kind, number) if kind in KINDS else (array.name, i), {})
        if name in of_layer:
            raise ValueError(
                f"{OWNER}: names must differ in layer and array, got {of_layer[name].name!r} and "
                f"{array.name!r}"
            )
        of_layer[name] = array
    return layers


def _by_kind(model: UNet) -> dict[str, list[dict[str, Place]]]:
    """The layers of each kind, in the order of the authors' code: places by name of the array."""
    names = {module: name for name, module in model.named_modules()}
    parts: list[nn.Module] = [*model.encoders, model.bottleneck]
    for level in zip(model.ups, model.decoders, strict=True):
        parts += level
    parts.append(model.head)
    attending = {m.conv for m in model.modules() if isinstance(m, SpatialAttention)}
    layers: dict[str, list[dict[str, Place]]] = {kind: [] for kind in KINDS}
    known = {*model.deep_heads}  # the authors have none of these
    for module in (module for part in parts for module in part.modules()):
        own = {**parameters(module), **buffers(module)}
        for kind, (of_kind, tensors) in KINDS.items():
            if isinstance(module, of_kind) and own.keys() >= {*tensors.values()}:
                layers[kind].append(
                    {
                        array: Place(value, f"{names[module]}.{tensor}", module in attending)
                        for array, tensor in tensors.items()
                        if (value := getattr(module, tensor)) is not None
                    }
                )
                known.add(module)
    for module in model.modules():
        if module in known or not [*module.parameters(recurse=False)]:
            continue
        raise ValueError(
            f"{OWNER}: model must have no layers with weights but 2d convolutions and batch "
            f"normalisation, without pruning and the like, got {module} as {names[module]}"
        )
    return layers


def _converted(array: Array, place: Place) -> Tensor:
    """An array as the tensor of its place; raise unless the shapes agree."""
    values, expected = array.values, tuple(place.tensor.shape)
    if len(expected) == 4:
        expected = tuple(expected[axis] for axis in (2, 3, 1, 0))
    if values.shape != expected:
        got = f"got {values.shape}"
        raise ValueError(f"{OWNER}: {array.name} must have shape {expected} for {place.key}, {got}")
    if len(expected) == 4:
        values = values.transpose(3, 2, 0, 1)
    if place.swapped:
        values = values[:, ::-1]
    return torch.from_numpy(np.ascontiguousarray(values))
