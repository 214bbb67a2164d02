"""The layout: who may import whom, what importing loads, and which names are public."""

import ast
import importlib
import importlib.util
import inspect
import json
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path, PurePosixPath

import pytest

import torchattn_blocks

DOCS = Path(__file__).parents[1] / "docs"
PUBLIC = json.loads(Path(__file__).with_name("public_names.json").read_text())

# Each part of the package and the parts it may import; `__init__` stands for the public names.
PRIVATE = {"_check", "_dims", "_factory", "_init", "_restored", "_torch"}
CORE = {*PRIVATE, "_kinds", "_modules"}
CORE |= {"layers", "functional", "convert", "surgery", "model_tools", "models"}
SHARED = {
    "_lazy",
    "_check",
    "_kinds",
    "_modules",
    "_restored",
    "_torch",
}  # private files of the core that retina may use
MAY_IMPORT = {
    "_lazy": set(),
    "_check": set(),
    "_torch": set(),
    "_init": {"_torch"},
    "_restored": {"_torch"},
    "_kinds": {"_check", "_torch"},
    "_factory": {"_kinds", "_torch"},
    "_dims": {"_check"},
    "_modules": {"_factory", "_torch"},
    "layers": {"layers", "_lazy", "_check", "_dims", "_factory", "_init", "_torch"},
    "functional": {"layers"},
    "convert": {"convert", "layers", "models", "_check", "_dims", "_torch"},
    "surgery": {"surgery", "_check", "_factory", "_kinds", "_modules", "_torch"},
    "model_tools": {
        "model_tools",
        "surgery",
        "layers",
        "_check",
        "_kinds",
        "_modules",
        "_restored",
        "_torch",
    },
    "hub": {"models", "_check"},
    "env": {"__init__"},
    "models": {"models", "layers", "functional", *PRIVATE},
    "__init__": {*CORE, "__init__", "_lazy"},
    "retina": {"__init__", "functional", "retina", *SHARED},
}
CORE_NEEDS = {"torch", "numpy", *sys.stdlib_module_names}
# What one file may import besides, when it is used: where there is CUDA; to draw.
OPTIONAL = {
    ("torchattn_blocks/layers/_paint_triton.py", "triton"),
    ("torchattn_blocks/model_tools/figure.py", "matplotlib"),
    ("torchattn_blocks/convert/keras.py", "h5py"),
    ("torchattn_blocks/hub.py", "huggingface_hub"),
}


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
        part = PurePosixPath(path).with_suffix("").parts[1]
        if part not in MAY_IMPORT:
            found.append(f"{path}: no such part")
            continue
        for line, name in imports(path, source):
            root, *rest = name.split(".")
            if root != "torchattn_blocks":
                fine = part == "retina" or root in CORE_NEEDS or (path, root) in OPTIONAL
            else:
                target = rest[0] if rest and rest[0] in MAY_IMPORT else "__init__"
                private = any(name[0] == "_" and name[-2:] != "__" for name in rest)
                fine = target in MAY_IMPORT[part] and not (
                    private and part == "retina" and target not in {"retina", *SHARED}
                )
                package, _, public = name.rpartition(".")
                fine |= part == "retina" and public in PUBLIC.get(package, ())
            if not fine:
                found.append(f"{path}:{line}: {part} imports {name}")
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
        ("layers/a.py", "from ..retina.fov import estimate_fov"),
        ("layers/__init__.py", "from .. import models"),
        ("layers/a/b.py", "from ...models.unet import UNet"),
        ("layers/a.py", "def f():\n    import torchattn_blocks.models"),
        ("layers/a.py", "import math, torchattn_blocks"),
        ("functional.py", "from .models import UNet"),
        ("convert/a.py", "from ..functional import spatial_attention"),
        ("convert/a.py", "import timm"),
        ("convert/a.py", "import h5py"),
        ("hub.py", "import h5py"),
        ("__init__.py", "from . import hub"),
        ("layers/a.py", "from .._modules import members"),
        ("_modules.py", "from .surgery._insertion import Insertion"),
        ("surgery/a.py", "from ..models import rsan"),
        ("surgery/a.py", "from ..model_tools.usage import report"),
        ("surgery/a.py", "from ..layers.drop_block import DropBlock"),
        ("model_tools/a.py", "from ..models import rsan"),
        ("models/a.py", "from .._modules import members"),
        ("retina/a.py", "from .._factory import made_by"),
        ("models/a.py", "from ..surgery.edit import insert_after"),
        ("models/a.py", "from ..retina import train"),
        ("models/a.py", "from torchattn_blocks import RSAB"),
        ("models/a.py", "from torchattn_blocks.retina import fundus"),
        ("__init__.py", "from .retina import fundus"),
        ("__init__.py", "def f():\n    from . import retina"),
        ("__init__.py", "import matplotlib.pyplot as plt"),
        ("layers/a.py", "try:\n    from PIL import Image\nexcept ImportError:\n    pass"),
        ("retina/a.py", "from ..layers.drop_block import drop_block2d"),
        ("retina/a.py", "from torchattn_blocks.models.presets import rsan"),
        ("retina/a.py", "from torchattn_blocks import layers"),
        ("retina/a.py", "from torchattn_blocks import _private"),
        ("retina/a.py", "from torchattn_blocks.functional import _private"),
        ("elsewhere.py", ""),
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
        ("convert/a.py", "from .._check import check_kind\nfrom ..layers import CBAM"),
        ("surgery/a.py", "from .b import c\nfrom .._modules import members"),
        (
            "model_tools/a.py",
            "from ..surgery.listing import changes\nfrom .._modules import picked",
        ),
        ("models/a.py", "from ..layers import RSAB\nfrom .. import functional\nfrom . import b"),
        ("__init__.py", "from . import functional\nfrom .models import rsan"),
        ("retina/a.py", "from torchattn_blocks import __version__, functional, rsan\nimport PIL"),
        ("retina/a.py", "import torchattn_blocks\nfrom . import _own\nfrom .fov import b"),
        ("retina/a.py", "from .._check import check_kind\nfrom .._restored import in_evaluation"),
    ],
)
def test_a_good_import_passes(path: str, source: str) -> None:
    assert violations({f"torchattn_blocks/{path}": source}) == []


def loaded_by(code: str) -> list[str]:
    """The modules that some code loads in a fresh interpreter, where warnings are errors."""
    code = f"import sys\n{code}\nprint(*sorted(sys.modules))"
    command = [sys.executable, "-W", "error", "-c", code]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")
    return done.stdout.split()


def test_importing_loads_nothing_but_itself() -> None:
    loaded = loaded_by("import torchattn_blocks, torchattn_blocks.retina")
    assert not {"torch", "numpy"} & set(loaded)
    ours = [name for name in loaded if name.startswith("torchattn_blocks")]
    parts = ["", "._lazy", ".layers", ".retina"]  # the list of the layers' names, no layer
    assert ours == [f"torchattn_blocks{part}" for part in parts]


def test_the_core_needs_torch_and_numpy_alone() -> None:
    before = loaded_by("import numpy, torch")
    loaded = set(loaded_by("from torchattn_blocks import *")) - set(before)
    assert "torchattn_blocks.models.presets" in loaded
    assert not [name for name in loaded if name.startswith("torchattn_blocks.retina")]
    assert {name.partition(".")[0] for name in loaded} <= {"torchattn_blocks", *CORE_NEEDS}


@pytest.mark.parametrize("package", PUBLIC)
def test_no_public_name_is_lost(package: str) -> None:
    imported = importlib.import_module(package)
    assert set(imported.__all__) >= set(PUBLIC[package])
    assert set(dir(imported)) >= set(imported.__all__)
    assert [name for name in PUBLIC[package] if not hasattr(imported, name)] == []
    with pytest.raises(AttributeError, match="has no attribute 'nothing'"):
        imported.nothing  # noqa: B018


def public_names() -> dict[str, list[str]]:
    """The names of each public package that stand in no other, as one imports them."""
    inner = ("torchattn_blocks.layers",)  # its names are those of torchattn_blocks
    return {p: sorted(importlib.import_module(p).__all__) for p in PUBLIC if p not in inner}


def undocumented(pages: str) -> list[str]:
    """The public names that the pages of the reference do not describe."""
    first = torchattn_blocks.__all__
    return [
        f"{package}.{name}"
        for package, names in public_names().items()
        for name in names
        if f"torchattn_blocks.{name}" not in described(pages)
        and f"{package}.{name}" not in described(pages)
        and not (package != "torchattn_blocks" and name in first)
    ]


def described(pages: str) -> set[str]:
    return set(re.findall(r"^\.\. auto\w+:: (\S+)$", pages, re.MULTILINE))


def test_a_name_is_public_on_purpose_for_the_reference_describes_it() -> None:
    pages = "\n".join(path.read_text() for path in (DOCS / "api").glob("*.md"))
    assert undocumented(pages) == []
    pages = pages.replace("autoclass:: torchattn_blocks.CBAM\n", "")
    assert undocumented(pages) == ["torchattn_blocks.CBAM"]


LAZY = ["torchattn_blocks", "torchattn_blocks.layers", "torchattn_blocks.retina"]


@pytest.mark.parametrize("package", LAZY)
def test_type_checkers_see_the_names_that_are_resolved(package: str) -> None:
    source = Path(importlib.import_module(package).__file__ or "").read_text()
    imported = [
        (alias.asname or alias.name, "." * node.level + (node.module or alias.name))
        for node in ast.walk(ast.parse(source))
        if isinstance(node, ast.ImportFrom) and node.level
        for alias in node.names
    ]
    seen = [pair for pair in imported if pair[0] != "lazy" and pair != ("layers", ".layers")]
    resolved = {
        key.value: value.value
        for node in ast.walk(ast.parse(source))
        if isinstance(node, ast.Dict)
        for key, value in zip(node.keys, node.values, strict=True)
        if isinstance(key, ast.Constant) and isinstance(value, ast.Constant)
    }
    layers = [*torchattn_blocks.layers.__all__] if ("*", ".layers") in seen else []
    assert dict(seen) == resolved | ({"*": ".layers"} if layers else {})
    assert len(seen) == len(resolved) + bool(layers)
    assert sorted([*resolved, *layers]) == importlib.import_module(package).__all__


@pytest.mark.parametrize("package", PUBLIC)
def test_no_name_stands_for_a_module_and_something_else(package: str) -> None:
    modules = {
        name
        for name in PUBLIC[package]
        if hasattr(importlib.import_module(package), "__path__")
        and importlib.util.find_spec(f"{package}.{name}")
    }
    imported = importlib.import_module(package)
    assert [name for name in modules if not inspect.ismodule(getattr(imported, name))] == []


def test_evaluation_knows_nothing_of_training() -> None:
    folder = Path(torchattn_blocks.__file__).parent / "retina" / "evaluation"
    sources = {path.name: path.read_text(encoding="utf-8") for path in folder.glob("*.py")}
    assert of_training(sources) == []
    assert of_training({"a.py": "def f():\n    from ..training.loop import train"}) == ["a.py:2"]
    assert of_training({"a.py": "from .. import training"}) == ["a.py:1"]


def of_training(sources: dict[str, str]) -> list[str]:
    """Where files of `retina/evaluation` import anything of `retina/training`."""
    return [
        f"{name}:{line}"
        for name, source in sources.items()
        for line, imported in imports(f"torchattn_blocks/retina/evaluation/{name}", source)
        if f"{imported}.".startswith("torchattn_blocks.retina.training.")
    ]


@pytest.mark.parametrize(
    ("command", "unused"),
    [
        ("segment", {"matplotlib", "monai", "torchmetrics", "accelerate", "tifffile"}),
        ("evaluate", {"monai", "torchmetrics", "accelerate", "tifffile"}),
    ],
)
def test_a_command_loads_what_it_needs(command: str, unused: set[str], tmp_path: Path) -> None:
    """In a whole run, from reading images to writing results."""
    code = f"""
import sys
from pathlib import Path
from torchattn_blocks.retina import Network, Settings, save_folder, save_weights, synthesize
from torchattn_blocks.retina.__main__ import main
network = Network("rsan", (4, 8))
save_weights("w.safetensors", network.build(), Settings(network, fov_diameter=60))
save_folder("data", [synthesize(seed, height=72, width=64) for seed in range(5)])
data = {{"segment": ["data/images"], "evaluate": ["--data", "data", "--dataset", "folder"]}}
sys.argv = ["retina", "{command}", *data["{command}"], "--weights", "w.safetensors", "--out", "out"]
sys.argv += ["--no-pictures"] * ({command!r} == "evaluate")
sys.stdout = Path("said").open("w")
main()
sys.stdout = sys.__stdout__
"""
    code += "print(*sys.modules)"
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=tmp_path
    )
    loaded = set(done.stdout.split())
    assert {"torch", "skimage", f"torchattn_blocks.retina.commands.{command}"} <= loaded
    assert len(list((tmp_path / "out").iterdir())) >= 4
    assert not loaded & unused


def test_a_missing_extra_is_named() -> None:
    code = """
import sys
sys.modules["skimage"] = None
import torchattn_blocks.retina
try:
    torchattn_blocks.retina.estimate_fov
except ModuleNotFoundError as error:
    assert "pip install '.[retina]'" in str(error), error
else:
    raise SystemExit("no error")
"""
    loaded_by(code.replace("import sys\n", "", 1))
