"""The centre lines of vessels: segments that meet at branch points."""

from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from .skeleton import Branch, Node, Points, vessel_skeleton


@dataclass(frozen=True, eq=False)
class Segment:
    """A piece of vessel between two branch points or free ends.

    Attributes:
        path: Points of its centre line in order, shape (n, 2): rows and columns of the image.
        zones: The width of the vessels at the branch points at its two ends, in pixels; 0 at a free
            end.
        radius: The largest distance from the centre line to the border of the vessel.
        is_ring: Whether it meets no other segment, and ends where it starts.
        is_loop: Whether both ends are one.
    """

    path: Points
    zones: tuple[float, float]
    radius: float
    is_ring: bool
    is_loop: bool

    @property
    def is_free(self) -> tuple[bool, bool]:
        """Whether its first and its last end are free."""
        first, last = self.zones
        return first == 0 and not self.is_ring, last == 0 and not self.is_ring


@dataclass(frozen=True, eq=False)
class VesselGraph:
    """The centre lines of a vessel mask.

    Attributes:
        segments: The pieces between branch points and free ends.
        branch_points: How many branch points there are.
        end_points: How many free ends there are.
        skeleton: All pixels of the skeleton, shape (H, W).
    """

    segments: tuple[Segment, ...]
    branch_points: int
    end_points: int
    skeleton: NDArray[np.bool_]


def vessel_graph(vessels: NDArray[np.bool_]) -> VesselGraph:
    """Find the centre lines of a vessel mask (H, W).

    Three kinds of branches of a skeleton are not pieces of vessel, and are left out: branches with
    a free end that are shorter than the vessel is wide where they leave it, unless there are no
    others; loops of this size, around missing pixels; and links between branch points that are
    closer than their vessels are wide. So a crossing is one branch point.
    """
    pixels, branches, nodes = vessel_skeleton(vessels)
    branches = _simplified(branches, nodes)
    degrees = _degrees(branches)
    return VesselGraph(
        tuple(_segment(branch, nodes, degrees) for branch in branches),
        sum(degree > 2 for degree in degrees.values()),
        sum(degree == 1 for degree in degrees.values()),
        pixels,
    )


def _segment(branch: Branch, nodes: Mapping[int, Node], degrees: Mapping[int, int]) -> Segment:
    """A branch, up to the middles of the branch points where it ends."""
    first, last = (nodes[end] if degrees[end] > 2 else None for end in (branch.first, branch.last))
    path = branch.path.astype(np.float64)
    path = _from_middle(_from_middle(path, first)[::-1], last)[::-1]
    is_loop = branch.first == branch.last
    is_ring = is_loop and first is None
    if is_ring and not np.array_equal(path[0], path[-1]):
        path = np.concatenate([path, path[:1]])
    return Segment(
        path,
        zones=(2 * first.radius if first else 0.0, 2 * last.radius if last else 0.0),
        radius=branch.radius,
        is_ring=is_ring,
        is_loop=is_loop,
    )


def _from_middle(path: Points, node: Node | None) -> Points:
    """The path from the middle of a branch point on, straight as far as its `cut` says."""
    if node is None:
        return path
    distance = np.linalg.norm(path - node.at, axis=1)
    outside = np.flatnonzero(distance > node.cut)
    if not len(outside):  # a winding loop, as around a hole at a crossing
        outside = np.flatnonzero(distance > 0)
    return np.concatenate([node.at[None], path[outside[0] :]])


def _degrees(branches: Iterable[Branch]) -> Counter[int]:
    """How many branches end at each node; a loop ends there twice."""
    return Counter(end for branch in branches for end in (branch.first, branch.last))


def _simplified(branches: list[Branch], nodes: dict[int, Node]) -> list[Branch]:
    """The branches that are pieces of vessel. Nodes that become one change in `nodes`."""
    while True:
        degrees = _degrees(branches)
        vessels = _without_spurs(branches, nodes, degrees)
        if len(vessels) == len(branches):
            links = [branch for branch in branches if _is_short_link(branch, nodes, degrees)]
            if not links:
                return branches
            vessels = _without_links(branches, links, nodes)
        branches = _joined(vessels)


def _without_spurs(
    branches: list[Branch], nodes: Mapping[int, Node], degrees: Mapping[int, int]
) -> list[Branch]:
    """Take out branches with a free end that are shorter than the vessel they leave is wide.

    If nothing else is left of a vessel, its two longest branches stay.
    """
    spurs = defaultdict(list)
    for branch in branches:
        free, joint = sorted((branch.first, branch.last), key=lambda end: degrees[end])
        is_free = degrees[free] == 1 and degrees[joint] > 2
        if is_free and branch.length < 2 * nodes[joint].radius:
            spurs[joint].append(branch)
    gone = set()
    for joint, those in spurs.items():
        stay = 2 if len(those) == degrees[joint] else 0
        shortest_first = sorted(those, key=lambda branch: branch.length)
        gone |= {id(branch) for branch in shortest_first[: len(those) - stay]}
    return [branch for branch in branches if id(branch) not in gone]


def _is_short_link(branch: Branch, nodes: Mapping[int, Node], degrees: Mapping[int, int]) -> bool:
    """Whether it is a short loop, or a short link between branch points that are not merged yet."""
    ends = (branch.first, branch.last)
    if min(degrees[end] for end in ends) < 3:
        return False
    if branch.first != branch.last and any(nodes[end].cut for end in ends):
        return False
    return branch.length < sum(nodes[end].radius for end in ends)


def _without_links(
    branches: list[Branch], links: list[Branch], nodes: dict[int, Node]
) -> list[Branch]:
    """Take out short links, the shortest first and at most one at each node.

    The two nodes of a link become the first of them.
    """
    new: dict[int, int] = {}  # the nodes that links end at, and what they become
    taken = []
    for link in sorted(links, key=lambda link: link.length):
        kept, gone = link.first, link.last
        if kept in new or gone in new:
            continue
        new |= {kept: kept, gone: kept}
        taken.append(link)
        if kept != gone:
            one, other = nodes[kept], nodes[gone]
            radius = max(one.radius, other.radius)
            nodes[kept] = Node((one.at + other.at) / 2, radius, cut=radius)
    return [
        replace(
            branch,
            first=new.get(branch.first, branch.first),
            last=new.get(branch.last, branch.last),
        )
        for branch in branches
        if not any(branch is link for link in taken)
    ]


def _joined(branches: list[Branch]) -> list[Branch]:
    """Join two branches where no other branch meets them."""
    at = defaultdict(list)
    for branch in branches:
        for end in (branch.first, branch.last):  # a loop is there twice
            at[end].append(branch)
    for node, meeting in at.items():
        if len(meeting) != 2 or meeting[0] is meeting[1]:
            continue
        one, other = meeting
        before = one if one.last == node else _reversed(one)
        after = other if other.first == node else _reversed(other)
        same = np.array_equal(before.path[-1], after.path[0])
        path = np.concatenate([before.path, after.path[int(same) :]])
        whole = Branch(path, before.first, after.last, max(one.radius, other.radius))
        meeting.clear()
        for end, part in ((before.first, one), (after.last, other)):
            place = next(k for k, branch in enumerate(at[end]) if branch is part)
            at[end][place] = whole
    return list({id(branch): branch for meeting in at.values() for branch in meeting}.values())


def _reversed(branch: Branch) -> Branch:
    return replace(branch, path=branch.path[::-1], first=branch.last, last=branch.first)
