"""Synthetic fundus images: a picture, its exact vessels and its exact field of view, by seed.

A vascular tree grows, takes its calibres from Murray's law (Murray 1926: a parent's calibre cubed
is the sum of its children's, cubed), absorbs the light of a painted retina, and is photographed.

The scene is measured in radii of the field of view from its centre, x to the nose and y down, as in
a right eye; calibres in pixels of a DRIVE image (584 × 565), whose field of view measures 270.
"""

from dataclasses import dataclass, replace

import numpy as np
from numpy.random import Generator
from numpy.typing import NDArray

from ..._check import check_ints, plain
from ..fundus import Fundus

Floats = NDArray[np.float64]
Ints = NDArray[np.intp]

DRIVE_SIDE = 565.0  # px: the shorter side of a DRIVE image
DRIVE_RADIUS = 270.0  # px: the radius of its field of view
MIN_SIDE = 64  # px: smaller, and no vessel is wider than a pixel

# The tree, in radii of the field of view.
STEP = 3 / DRIVE_RADIUS  # between neighbouring nodes
REACH = 1.12  # growth goes on a little beyond the picture, so that vessels leave it unbroken
BARE = 4  # nodes on either side of a fork from which nothing sprouts
FOVEAL_ZONE = 0.12  # radius without vessels around the fovea
MACULA = 0.5  # radius around the fovea that a twig does not leave
TARGETS = 1500  # random points that the tree tries to reach
SPACING = 0.3, 0.03  # how far from every vessel a target has to lie: the first, the last
ARCADES = (1.39, 0.70, 0.16), (2.4, 0.35, 0.35)  # angle, bend, apart: to the temple, to the nose
VEIN, ARTERY, HILUM = 0, 1, 2

# Calibres, in pixels of DRIVE; flow 1 reaches a twig's tip.
LEAK = 0.012  # flow that a step of vessel gives to its capillaries
BEYOND = 18.0  # flow to the retina outside the picture, by a vessel that leaves it
WIDTH = np.array([1.35, 1.05, 0.0])  # at flow 1: veins are wider than arteries
RESOLVED = 0.65  # pixels of the picture: narrower vessels are neither drawn nor labelled
DRAWN = 1.2  # pixels of the picture: the others are drawn at least this wide, hence unbroken

# Light.
BLOOD = np.array([0.17, 0.42, 0.24])  # the most that blood takes of red, green and blue
OPAQUE = 4.0, 5.5  # px of vein, of artery that take 1 - 1/e of it
REFLEX = 4.5  # pixels of the picture: arteries this wide shine along their middle
SURROUND = 8.0, 6.7, 6.8  # red, green and blue where the camera sees nothing


@dataclass(frozen=True)
class _View:
    """The camera's pixel grid over the scene."""

    shape: tuple[int, int]

    @property
    def scale(self) -> float:
        """Pixels of this picture to a pixel of DRIVE."""
        return min(self.shape) / DRIVE_SIDE

    def axis(self, dim: int) -> Floats:
        size = self.shape[dim]
        return (np.arange(size, dtype=np.float64) - (size - 1) / 2) / (self.scale * DRIVE_RADIUS)

    def distance(self, centre: Floats, tall: float = 1.0) -> Floats:
        """From a point of the scene to each pixel, (H, W); in ellipses where tall is not 1."""
        x, y = self.axis(1) - centre[0], (self.axis(0)[:, None] - centre[1]) / tall
        distance: Floats = np.hypot(x, y)
        return distance

    def pixels(self, xy: Floats) -> Floats:
        """Rows and columns of points of the scene."""
        return xy[..., ::-1] * self.scale * DRIVE_RADIUS + (np.array(self.shape) - 1) / 2


@dataclass
class _Tree:
    """Vessels as nodes, parents before their children; all enter the eye at node 0."""

    xy: Floats  # (N, 2)
    along: Floats  # (N, 2), unit tangent, downstream
    parent: Ints
    kind: Ints
    bud: Ints  # the kind of twig that may sprout here, or none of them

    def sprout(self, path: Floats, parent: int, kind: int) -> None:
        first, count = len(self.xy), len(path)
        self.xy = np.concatenate([self.xy, path])
        self.along = np.concatenate([self.along, _unit(np.gradient(path, axis=0))])
        self.parent = np.concatenate([self.parent, [parent], np.arange(first, first + count - 1)])
        self.kind = np.concatenate([self.kind, np.full(count, kind)])
        self.bud = np.concatenate([self.bud, np.where(np.arange(count) < BARE, HILUM, kind)])
        self.bud[max(parent - BARE, 0) : min(parent + BARE, first)] = HILUM


def _unit(vector: Floats) -> Floats:
    unit: Floats = vector / np.linalg.norm(vector, axis=-1, keepdims=True)
    return unit


def _polar(radius: Floats | float, angle: Floats | float) -> Floats:
    return np.stack([radius * np.cos(angle), radius * np.sin(angle)], -1)


def _trunk(rng: Generator, hilum: Floats, angle: float, bend: float) -> Floats:
    """A main vessel: a wavy spiral, bending to the temple as the nerve fibres beneath it do."""
    r = np.arange(STEP, 2.4, STEP)
    waves = np.arange(1, 10)
    phase = 2.2 * np.outer(waves, r) + rng.uniform(0, 2 * np.pi, (9, 1))
    wobble = (rng.normal(0, 0.07, 9) / waves) @ np.sin(phase)
    angles = np.pi - angle + bend * r + wobble * 4 * r / (1 + 4 * r**2)
    path = hilum + rng.normal(0, 0.012, 2) + _polar(r, angles)
    return path[: np.argmax(np.hypot(*path.T) > REACH)]


def _twig(rng: Generator, start: Floats, along: Floats, target: Floats) -> Floats:
    """A cubic Hermite curve that leaves its parent at an acute angle, with a few small waves."""
    chord = target - start
    length = float(np.hypot(*chord))
    t = np.linspace(0, 1, max(3, int(np.ceil(length / STEP))) + 1)[1:, None]
    leave = length * _unit(along + 1.2 * chord / length)
    arrive = length * _unit(chord / length + rng.normal(0, 0.35, 2))
    waves = np.arange(1, 8)
    sway = (np.sin(np.pi * waves * t) / waves**1.2) @ rng.normal(0, 0.06 * length**0.8, 7)
    path: Floats = (
        (2 * t**3 - 3 * t**2 + 1) * start
        + (t**3 - 2 * t**2 + t) * leave
        + (3 * t**2 - 2 * t**3) * target
        + (t**3 - t**2) * arrive
        + sway[:, None] * _unit(chord[::-1] * [-1, 1])
    )
    return path


def _grow(rng: Generator, fovea: Floats, hilum: Floats) -> _Tree:
    """Lay the arcades, then reach for random points, ever closer to the vessels already there."""
    zero = np.zeros(1, np.intp)
    tree = _Tree(hilum[None], np.zeros((1, 2)), zero, zero + HILUM, zero + HILUM)
    for upwards in (-1, 1):
        for angle, bend, apart in ARCADES:
            vein = rng.normal(angle, 0.06)
            artery = vein + rng.choice([-1, 1]) * rng.normal(apart, apart / 4)
            for kind, start in ((VEIN, vein), (ARTERY, artery)):
                path = _trunk(rng, hilum, start, rng.normal(bend, 0.05))
                tree.sprout(hilum + (path - hilum) * [1, -upwards], 0, kind)
    for angle in rng.uniform(0, 2 * np.pi, 9):  # small vessels leave the disc to all sides
        away = _polar(1.0, angle)
        target = hilum + rng.uniform(0.3, 0.6) * away
        tree.sprout(_twig(rng, hilum, away, target), 0, int(rng.integers(2)))
    for spacing in np.geomspace(*SPACING, TARGETS):
        target = _polar(REACH * np.sqrt(rng.uniform()), rng.uniform(0, 2 * np.pi))
        chord = target - tree.xy
        distance = np.hypot(chord[:, 0], chord[:, 1])
        if distance.min() < spacing:
            continue
        kind = int(rng.integers(2))
        detour = distance - 0.55 * (chord * tree.along).sum(1)  # the nearest, preferring onwards
        parent = int(np.where(tree.bud == kind, detour, np.inf).argmin())
        path = _twig(rng, tree.xy[parent], tree.along[parent], target)
        away = np.hypot(*(path - fovea).T)
        if away.min() > FOVEAL_ZONE and not away[0] < MACULA < away[-1]:
            tree.sprout(path, parent, kind)
    return tree


def _relax(tree: _Tree) -> Floats:
    """Positions pulled by their neighbours': forks turn into a Y, and a trunk bends at each."""
    xy, parent = tree.xy.copy(), tree.parent[1:]
    children = np.bincount(parent, minlength=len(xy))[:, None]
    inner = np.flatnonzero(children[1:]) + 1
    for _ in range(10):
        ahead = np.stack([np.bincount(parent, v, len(xy)) for v in xy[1:].T], 1)
        neighbours = xy[tree.parent[inner]] + ahead[inner] / children[inner]
        xy[inner] = xy[inner] / 2 + neighbours / 4
    return xy


def _calibres(rng: Generator, tree: _Tree) -> Floats:
    """Murray's law: the calibre is the cube root of the flow, which adds up from the tips."""
    tip = np.bincount(tree.parent, minlength=len(tree.xy)) == 0
    supply = np.where(np.hypot(*tree.xy.T) > 1, BEYOND, rng.uniform(0.4, 1.6, len(tip)))
    flow = (LEAK + tip * supply).tolist()
    for node in range(len(flow) - 1, 0, -1):
        flow[tree.parent[node]] += flow[node]
    return WIDTH[tree.kind] * np.array(flow) ** (1 / 3)


def _draw(view: _View, tree: _Tree, calibre: Floats) -> Floats:
    """The largest r² - d² of all vessel discs at each pixel: >= 0 within, a half chord squared."""
    node = np.flatnonzero(calibre)
    steps = int(np.ceil(9 * view.scale))  # a disc every third of a pixel
    t = np.arange(steps)[:, None, None] / steps
    points = view.pixels((1 - t) * tree.xy[node] + t * tree.xy[tree.parent[node]]).reshape(-1, 2)
    radius = np.tile(np.maximum(calibre[node] * view.scale, DRAWN) / 2, steps)
    nearest = np.rint(points).astype(int)
    seen = ((nearest >= 0) & (nearest < view.shape)).all(-1)
    pad = int(np.ceil(radius.max(initial=1)))
    depth = np.full(np.add(view.shape, 2 * pad), -1.0)
    for size in range(1, pad + 1):
        at = np.flatnonzero(seen & (np.ceil(radius) == size))
        rows, cols = (nearest[at, :, None] + np.arange(-size, size + 1)).swapaxes(0, 1)
        across = radius[at, None] ** 2 - (rows - points[at, :1]) ** 2
        value = across[:, :, None] - ((cols - points[at, 1:]) ** 2)[:, None]
        np.maximum.at(depth, (rows[:, :, None] + pad, cols[:, None] + pad), value)
    return depth[pad:-pad, pad:-pad]


def _observe(rng: Generator, tree: _Tree, calibre: Floats) -> tuple[_Tree, Floats]:
    """The tree as a second observer sees it: a little astray, without some thin twigs."""
    waves, phase = rng.normal(0, 4, (2, 2)), rng.uniform(0, 2 * np.pi, 2)
    drift = np.sin(tree.xy @ waves + phase)  # px
    missed = 1.35 + 0.4 * drift[:, 0]  # px: the attention wanders as the hand does
    seen = calibre * (calibre > missed) * rng.uniform(0.8, 1.2)
    return replace(tree, xy=tree.xy + drift / DRIVE_RADIUS), seen


def _texture(rng: Generator, view: _View, cells: int) -> Floats:
    """A smooth Gaussian random field of unit variance, (H, W), about so many features across."""
    knots = np.linspace(-1.1, 1.1, cells)

    def basis(axis: Floats) -> Floats:
        offset = np.clip(axis, -1.1, 1.1)[:, None] - knots
        weight = np.exp(-((offset * cells / 1.8) ** 2))
        return _unit(weight)

    return basis(view.axis(0)) @ rng.normal(size=(cells, cells)) @ basis(view.axis(1)).T


def _paint(rng: Generator, view: _View, fovea: Floats, hilum: Floats) -> Floats:
    """The retina without its vessels, (H, W, 3): choroid, uneven light, macula, disc and cup."""

    def spot(centre: Floats, radius: float) -> Floats:
        return np.exp(-((view.distance(centre) / radius) ** 2) / 2)[..., None]

    red = rng.uniform(160, 260)
    green = red * rng.uniform(0.4, 0.54)
    paint = np.array([red, green, green * rng.uniform(0.52, 0.62)])

    rough = np.zeros(view.shape)
    for cells, amplitude in ((4, 0.06), (12, 0.03), (28, 0.018), (70, 0.014), (150, 0.012)):
        rough += amplitude * _texture(rng, view, cells)
    image = paint * np.exp(rough[..., None] * [1.0, 0.8, 0.5])

    dark = rng.uniform(0.3, 0.5) - rng.uniform([0, 0.1, 0.1], [0, 0.35, 0.4])  # red the most
    image *= np.exp(-dark * view.distance(rng.normal([0.1, 0], 0.2))[..., None] ** 2)
    haze = rng.uniform(-0.1, 0.2) * spot(_polar(1.1, rng.uniform(0, 2 * np.pi)), 0.3)
    image += haze * paint * [0.8, 0.9, 0.9]

    shade = rng.uniform(0.15, 0.4) * spot(fovea, 0.17) + rng.uniform(0.1, 0.3) * spot(fovea, 0.05)
    image *= np.exp(-shade * [0.8, 1.0, 0.8])

    radius = rng.uniform(0.13, 0.16)
    disc = hilum - [rng.uniform(0.02, 0.06), 0]
    edge = view.distance(disc, rng.uniform(0.95, 1.12))[..., None] - radius
    image += (paint * [1.2, 1.65, 1.4] - image) * 0.9 * _inside(edge, 0.013)
    edge = view.distance(disc - [0.02, 0])[..., None] - radius * rng.uniform(0.35, 0.6)
    image += paint * [0.3, 0.8, 1.0] * _inside(edge, 0.015)
    return image


def _inside(edge: Floats, blur: float) -> Floats:
    """From 1 within a blurred edge to 0 beyond it."""
    with np.errstate(over="ignore"):  # far outside, in long images: the result is 0
        return 1 / (1 + np.exp(edge / blur))


def _expose(rng: Generator, scene: Floats, fov: NDArray[np.bool_]) -> NDArray[np.uint8]:
    """The camera's picture of the scene: a black surround, grain, slight blur."""
    grain = rng.normal(0, 6.5, (*fov.shape, 1)) + rng.normal(0, 4.5, scene.shape)
    image = np.where(fov[..., None], scene + grain, SURROUND + grain / 3)
    for axis in (0, 1):  # binomial, standard deviation 0.7 px
        image = (np.roll(image, 1, axis) + 2 * image + np.roll(image, -1, axis)) / 4
    return np.rint(image).clip(0, 255).astype(np.uint8)


def synthesize(seed: int, *, height: int = 584, width: int = 565) -> Fundus:
    """Draw a synthetic colour fundus image with its exact vessel mask.

    The vessel mask marks exactly the drawn vessels. At the default size (DRIVE's), it covers about
    13 % of the field of view. All sizes scale with the shorter side of the image. Vessels too thin
    for the pixels are neither drawn nor marked. The second observer's mask lacks thin vessels and
    has the others slightly displaced. The same seed gives the same eye at every size.

    Args:
        seed: Seed of the image, at least 0. Equal arguments give equal arrays. No global random
            state is read or changed.
        height: Height in pixels, at least 64.
        width: Width in pixels, at least 64.

    Returns:
        The image with both vessel masks and its field of view. Its name is ``synthetic-0007`` for
        seed 7.

    Raises:
        TypeError: If `seed`, `height` or `width` is not an int.
        ValueError: If `seed` is negative, or `height` or `width` below 64.

    Example:
        >>> from torchattn_blocks.retina import synthesize
        >>> fundus = synthesize(7, height=96, width=80)
        >>> fundus.name, fundus.image.shape, fundus.label.shape
        ('synthetic-0007', (96, 80, 3), (96, 80))
        >>> bool((fundus.label <= fundus.fov).all())
        True
    """
    check_ints("synthesize", 0, seed=seed)
    check_ints("synthesize", MIN_SIDE, height=height, width=width)
    seed, height, width = plain(seed), plain(height), plain(width)
    rng = np.random.default_rng(seed)
    view = _View((height, width))
    fov = view.distance(np.zeros(2)) <= 1
    left = rng.uniform() < 0.5
    fovea, hilum = rng.normal([-0.03, 0.03], 0.02), rng.normal([0.8, -0.04], 0.03)

    tree = _grow(rng, fovea, hilum)
    tree.xy = _relax(tree)
    calibre = _calibres(rng, tree)
    calibre *= calibre * view.scale >= RESOLVED
    second = _draw(view, *_observe(rng, tree, calibre)) >= 0
    scene = _paint(rng, view, fovea, hilum)

    label = np.zeros(view.shape, bool)
    for kind in (VEIN, ARTERY):
        depth = _draw(view, tree, calibre * (tree.kind == kind))
        chord = 2 * np.sqrt(np.maximum(depth, 0)) / view.scale
        scene *= 1 - BLOOD * (1 - np.exp(-chord / OPAQUE[kind]))[..., None]
        label |= depth >= 0
    shining = (tree.kind == ARTERY) & (calibre * view.scale >= REFLEX)
    scene *= np.where(_draw(view, tree, 0.3 * calibre * shining) >= 0, 1.15, 1.0)[..., None]

    image, label, second = _expose(rng, scene, fov), label & fov, second & fov
    if left:  # the scene is a right eye; its field of view is symmetric
        image, label, second = image[:, ::-1].copy(), label[:, ::-1].copy(), second[:, ::-1].copy()
    return Fundus(f"synthetic-{seed:04d}", image, label, fov, second)
