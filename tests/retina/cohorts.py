"""Small cohorts for tests, and what a command leaves of them."""

import signal
import subprocess
import sys
from functools import partial
from pathlib import Path

import numpy as np
import torch
from PIL import Image

from torchattn_blocks.retina import Network, Settings, save_weights, synthesize
from torchattn_blocks.retina.cohort.manifest import read_manifest


def draw(folder: Path, count: int) -> Path:
    """So many small images, of which no two are the same."""
    folder.mkdir(parents=True)
    eye = synthesize(3, height=72, width=70).image
    for number in range(count):
        turned = np.roll(eye, number, axis=0) // (1 + number % 3)
        Image.fromarray(turned).save(folder / f"eye-{number:03d}.png")
    return folder


def small_weights(path: Path) -> Path:
    """The weights of a small network with DropBlock for small images."""
    network = Network("backbone_dropblock", widths=(4, 8))
    torch.manual_seed(0)
    save_weights(path, network.build(), Settings(network, fov_diameter=70))
    return path


def pictures(out: Path) -> dict[str, bytes]:
    """The contents of all pictures in a folder, by their paths in it."""
    return {path.relative_to(out).as_posix(): path.read_bytes() for path in out.rglob("*.png")}


def rows(out: Path) -> list[dict[str, str]]:
    """The rows of a manifest without what differs from run to run."""
    found = read_manifest(out / "manifest.csv")
    return [{name: cell for name, cell in row.items() if name != "seconds"} for row in found]


def start(*arguments: object, **options: object) -> subprocess.Popen[str]:
    """Start a command of the library as a program of its own, in a group of its own.

    It hears Ctrl-C, also if the tests run in the background, where shells have it ignored.
    """
    return subprocess.Popen(
        [sys.executable, "-m", "torchattn_blocks.retina", *map(str, arguments)],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,
        preexec_fn=partial(signal.signal, signal.SIGINT, signal.SIG_DFL),
        **options,
    )
