"""One fundus image and its masks: the value that every part of the package takes or returns."""

from dataclasses import dataclass
from pathlib import PurePath

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True, eq=False)
class Fundus:
    """A colour fundus image with its masks, all of one height and width.

    Attributes:
        name: Identifier of the image within its data set, such as ``"21"`` or ``"01L"``.
        image: RGB values of shape (H, W, 3), 0 to 255.
        label: Vessel mask by the first observer, shape (H, W), or None if there is none.
        fov: Field of view, shape (H, W), True where the camera saw the retina.
        second_label: Vessel mask by the second observer, shape (H, W), or None.
        dataset: Name of the image's data set, for trainings on several; may be empty.

    Raises:
        TypeError: If `image` is not an array of type uint8, or a mask is not an array of type bool.
        ValueError: If `image` is not of shape (H, W, 3), or a mask has another height or width.

    Example:
        >>> import numpy as np
        >>> from torchattn_blocks.retina import Fundus
        >>> image = np.zeros((584, 565, 3), np.uint8)
        >>> fundus = Fundus("mine", image, label=None, fov=np.ones((584, 565), bool))
    """

    name: str
    image: NDArray[np.uint8]
    label: NDArray[np.bool_] | None
    fov: NDArray[np.bool_]
    second_label: NDArray[np.bool_] | None = None
    dataset: str = ""

    def __post_init__(self) -> None:
        """Check types and shapes."""
        check_image(f"Fundus {self.name}", self.image)
        size = self.image.shape[:2]
        for name in ("label", "fov", "second_label"):
            mask = getattr(self, name)
            if mask is None and name != "fov":
                continue
            if _dtype(mask) != "bool":
                raise TypeError(
                    f"Fundus {self.name}: {name} must be an array of type bool, got {_dtype(mask)}"
                )
            if mask.shape != size:
                raise ValueError(
                    f"Fundus {self.name}: {name} must have shape {size}, got {mask.shape}"
                )


def check_image(owner: str, image: object) -> None:
    """Raise unless `image` is an array of RGB values."""
    if _dtype(image) != "uint8":
        raise TypeError(
            f"{owner}: image must be an array of type uint8, got {_dtype(image)}{_remedy(image)}"
        )
    shape = np.shape(np.asarray(image))
    if len(shape) != 3 or shape[2] != 3 or 0 in shape:
        raise ValueError(f"{owner}: image must have shape (H, W, 3), got {shape}{_remedy(image)}")


def checked_mask(owner: str, mask: object, shape: tuple[int, ...]) -> NDArray[np.bool_]:
    """A field of view as an array of type bool: all numbers except 0 are True.

    Raises:
        TypeError: If it is not a NumPy array.
        ValueError: If it has another shape.
    """
    if not isinstance(mask, np.ndarray) or mask.dtype.kind not in "buif":
        raise TypeError(f"{owner}: fov must be an array of type bool, got {_dtype(mask)}")
    if mask.shape != shape:
        raise ValueError(f"{owner}: fov must have the image's shape {shape}, got {mask.shape}")
    return mask.astype(bool)


def _remedy(image: object) -> str:
    """How to convert something else to RGB values, if known."""
    if isinstance(image, (str, PurePath)):
        return ". Pass read_image(path)"
    kind = type(image).__module__.partition(".")[0]
    if kind == "PIL":
        return '. Pass np.array(image.convert("RGB"))'
    if kind == "torch":
        return ". Pass an array of NumPy: of values in [0, 1], shape (3, H, W), " + (
            "(255 * image).round().byte().permute(1, 2, 0).numpy()"
        )
    if not isinstance(image, np.ndarray):
        return ""
    if image.dtype.kind == "f" and image.size and image.max() > 1:
        return ". Of values up to 255, pass image.round().astype(np.uint8)"
    if image.dtype.kind == "f":
        return ". Of values in [0, 1], pass (255 * image).round().astype(np.uint8)"
    if image.dtype == np.uint16:
        return ". Of values up to 65535, pass (image >> 8).astype(np.uint8)"
    if image.ndim == 2:
        return ". Of a grey image, pass np.stack([image] * 3, axis=-1)"
    if image.ndim == 3 and image.shape[2] == 4:
        return ". Of RGBA values, pass image[..., :3]"
    if image.ndim == 3 and image.shape[0] == 3:
        return ". With channels first, pass image.transpose(1, 2, 0)"
    return ""


def _dtype(array: object) -> str:
    return str(array.dtype) if isinstance(array, np.ndarray) else type(array).__name__
