"""The house: who may import whom, what importing costs, and which names are public."""

import ast
import importlib
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path, PurePosixPath

import pytest

import torchattn_blocks

PUBLIC = {
    "torchattn_blocks": [
        "RSAB",
        "DropBlock2d",
        "PreActResidual",
        "SpatialAttention",
        "UNet",
        "backbone",
        "backbone_dropblock",
        "functional",
        "rsan",
        "unet",
    ],
    "torchattn_blocks.functional": ["drop_block2d", "spatial_attention"],
}

# Each room of the house and the rooms it may import; `__init__` is the top of the package.
MAY_IMPORT = {
    "_init": {"_init"},
    "layers": {"layers", "_init"},
    "functional": {"layers"},
    "models": {"layers", "functional", "models", "_init"},
    "surgery": {"layers", "surgery"},
    "__init__": {"layers", "functional", "models", "surgery", "__init__"},
    "retina": {"__init__", "functional", "retina"},
}
CORE_NEEDS = {"torch", "numpy", *sys.stdlib_module_names}


def imports(path: str, source: str) -> Iterator[tuple[int, str]]:
    """Line and absolute dotted name of everything that a file imports, wherever it does."""
    package = PurePosixPath(path).parts[:-1]
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            yield from ((node.lineno, alias.name) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            base = package[: len(package) + 1 - node.level] if node.level else ()
            module = (*base, node.module) if node.module else base
            yield from ((node.lineno, ".".join((*module, alias.name))) for alias in node.names)


def violations(sources: dict[str, str]) -> list[str]:
    """What in the sources, by path from `torchattn_blocks/` on, breaks the import direction."""
    found = []
    for path, source in sources.items():
        room = PurePosixPath(path).with_suffix("").parts[1]
        if room not in MAY_IMPORT:
            found.append(f"{path}: no such room")
            continue
        for line, name in imports(path, source):
            root, *rest = name.split(".")
            if root != "torchattn_blocks":
                fine = room == "retina" or root in CORE_NEEDS
            else:
                target = rest[0] if rest and rest[0] in MAY_IMPORT else "__init__"
                private = any(part[0] == "_" and part[-2:] != "__" for part in rest)
                fine = target in MAY_IMPORT[room] and not (
                    private and room == "retina" and target != "retina"
                )
            if not fine:
                found.append(f"{path}:{line}: {room} imports {name}")
    return found


def test_import_direction_holds() -> None:
    package = Path(torchattn_blocks.__file__).parent
    sources = {
        path.relative_to(package.parent).as_posix(): path.read_text(encoding="utf-8")
        for path in package.rglob("*.py")
    }
    assert {PurePosixPath(path).parts[1] for path in sources} >= {"layers", "models", "retina"}
    assert violations(sources) == []


@pytest.mark.parametrize(
    ("path", "source"),
    [
        ("layers/a.py", "from torchattn_blocks.models import UNet"),
        ("layers/a.py", "from torchattn_blocks import models"),
        ("layers/a.py", "from torchattn_blocks import UNet"),
        ("layers/a.py", "from .. import surgery"),
        ("layers/a.py", "from ..retina.fov import estimate_fov"),
        ("layers/__init__.py", "from .. import models"),
        ("layers/a/b.py", "from ...models.unet import UNet"),
        ("layers/a.py", "def f():\n    import torchattn_blocks.surgery"),
        ("layers/a.py", "import math, torchattn_blocks"),
        ("functional.py", "from .models import UNet"),
        ("models/a.py", "from ..surgery import insert"),
        ("models/a.py", "from torchattn_blocks import RSAB"),
        ("models/a.py", "from torchattn_blocks.retina import fundus"),
        ("surgery.py", "from .models import UNet"),
        ("surgery.py", "from . import retina"),
        ("__init__.py", "from .retina import fundus"),
        ("__init__.py", "def f():\n    from . import retina"),
        ("__init__.py", "import matplotlib.pyplot as plt"),
        ("layers/a.py", "try:\n    from PIL import Image\nexcept ImportError:\n    pass"),
        ("retina/a.py", "from ..layers.drop_block import drop_block2d"),
        ("retina/a.py", "from torchattn_blocks.models import rsan"),
        ("retina/a.py", "from torchattn_blocks import layers"),
        ("retina/a.py", "from torchattn_blocks import _private"),
        ("retina/a.py", "from torchattn_blocks.functional import _private"),
        ("attic.py", ""),
    ],
)
def test_an_offence_is_seen(path: str, source: str) -> None:
    assert len(violations({f"torchattn_blocks/{path}": source})) == 1


@pytest.mark.parametrize(
    ("path", "source"),
    [
        ("layers/a.py", "import math\nimport numpy as np\nimport torch.nn.functional as F"),
        ("layers/a.py", "from .b import _shared\nfrom torchattn_blocks.layers.c import C"),
        ("functional.py", "from .layers.drop_block import drop_block2d"),
        ("models/a.py", "from ..layers import RSAB\nfrom .. import functional\nfrom . import b"),
        ("surgery.py", "from .layers import DropBlock2d"),
        ("__init__.py", "from . import functional\nfrom .models import rsan"),
        ("retina/a.py", "from torchattn_blocks import __version__, functional, rsan\nimport PIL"),
        ("retina/a.py", "import torchattn_blocks\nfrom . import _own\nfrom .fov import b"),
    ],
)
def test_a_good_import_passes(path: str, source: str) -> None:
    assert violations({f"torchattn_blocks/{path}": source}) == []


def test_import_is_silent_and_light() -> None:
    code = """
import sys, numpy, torch
before = set(sys.modules)
import torchattn_blocks
print(*sorted(set(sys.modules) - before))
"""
    command = [sys.executable, "-W", "error", "-c", code]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")
    loaded = done.stdout.split()
    assert "torchattn_blocks" in loaded
    assert not [name for name in loaded if name.startswith("torchattn_blocks.retina")]
    assert {name.partition(".")[0] for name in loaded} <= {"torchattn_blocks", *CORE_NEEDS}


@pytest.mark.parametrize("module", PUBLIC)
def test_public_names_are_the_recorded_ones(module: str) -> None:
    imported = importlib.import_module(module)
    assert sorted(imported.__all__) == sorted(PUBLIC[module])
    assert [name for name in PUBLIC[module] if not hasattr(imported, name)] == []
