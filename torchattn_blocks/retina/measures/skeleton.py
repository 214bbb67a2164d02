"""The skeleton of a vessel mask, cut into branches."""

from dataclasses import dataclass
from functools import cached_property
from importlib.util import find_spec
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import distance_transform_edt, generate_binary_structure
from scipy.ndimage import label as components
from skimage.morphology import skeletonize

from ..._lazy import missing
from ..specks import without_specks

Points = NDArray[np.float64]  # rows and columns, shape (n, 2)


@dataclass(frozen=True, eq=False)
class Node:
    """Where branches of a skeleton meet or end.

    Attributes:
        at: Row and column, the mean of its pixels.
        radius: Distance from there to the border of the vessel.
        cut: How far the branches around it are replaced by a straight line, in pixels.
    """

    at: Points
    radius: float
    cut: float = 0.0


@dataclass(frozen=True, eq=False)
class Branch:
    """A line of pixels between two nodes; for a loop both are the same node.

    Attributes:
        path: The pixels in order, shape (n, 2), from the first node to the last.
        first: Number of the node where it starts.
        last: Number of the node where it ends.
        radius: The largest distance from it to the border of the vessel.
    """

    path: NDArray[np.int_]
    first: int
    last: int
    radius: float

    @cached_property
    def length(self) -> float:
        """The length of the line through the middles of the pixels."""
        return float(np.hypot(*np.diff(self.path, axis=0).T).sum())


class Skeleton(NamedTuple):
    """The pixels of a skeleton (H, W), its branches, and its nodes by their numbers."""

    pixels: NDArray[np.bool_]
    branches: list[Branch]
    nodes: dict[int, Node]


def skeleton_pixels(vessels: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """The skeleton of a vessel mask (H, W).

    The method is Lee, Kashyap and Chu's ("Building skeleton models via 3-D medial surface/axis
    thinning algorithms", 1994). Scikit-image's default, by Zhang and Suen, keeps only half of some
    diagonal vessels.
    """
    pixels: NDArray[np.bool_] = skeletonize(vessels, method="lee") > 0
    return pixels


def vessel_skeleton(vessels: NDArray[np.bool_]) -> Skeleton:
    """The branches of the skeleton of a vessel mask (H, W), as skan follows them.

    Touching pixels with more than two neighbours are one node.
    """
    padded = np.pad(vessels, 1)  # or vessels would go on beyond the border of the image
    distance = distance_transform_edt(padded)
    pixels = skeleton_pixels(vessels)
    skeleton = np.pad(without_specks(pixels, 2), 1)  # of single pixels, skan 0.13 makes no graph
    if not skeleton.any():
        return Skeleton(pixels, [], {})
    import skan  # here: it compiles for seconds

    traced = skan.Skeleton(skeleton, keep_images=False)
    crowded = np.zeros(padded.shape, dtype=np.bool_)
    crowded[tuple(traced.coordinates.T)] = traced.degrees > 2
    joints, count = components(crowded, generate_binary_structure(2, 2))
    places = np.argwhere(crowded)
    owners = joints[crowded]
    nodes = {}
    for joint in range(1, count + 1):
        own = places[owners == joint]
        nodes[joint] = Node(own.mean(0) - 1, float(distance[tuple(own.T)].max()))
    branches = []
    for number in range(traced.n_paths):
        path = traced.path_coordinates(number)
        inside = joints[tuple(path.T)]
        if inside.all() and (inside == inside[0]).all():
            continue  # it does not leave its node
        ends = []
        for pixel in path[[0, -1]]:
            # The joint, or another number for each pixel.
            place = int(joints[tuple(pixel)]) or -int(np.ravel_multi_index(pixel, padded.shape))
            nodes.setdefault(place, Node(pixel - 1.0, float(distance[tuple(pixel)])))
            ends.append(place)
        radius = float(distance[tuple(path.T)].max())
        branches.append(Branch(path - 1, ends[0], ends[1], radius))
    return Skeleton(pixels, branches, nodes)


def check_installed(owner: str) -> None:
    """Raise `ModuleNotFoundError` unless skan is installed."""
    found = find_spec("skan")
    if found is None or found.origin is None:  # a folder of compiled files outlives the package
        raise missing(owner, "skan", "measures")
