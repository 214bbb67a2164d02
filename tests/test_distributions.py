"""What the distributions require: the weights of `[retina]`, in a clone and elsewhere."""

import shutil
import tarfile
import zipfile
from email import message_from_string
from email.message import Message
from pathlib import Path
from urllib.request import url2pathname

import pytest
from hatchling.builders.sdist import SdistBuilder
from hatchling.builders.wheel import WheelBuilder
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

ROOT = Path(__file__).parents[1]
WEIGHTS = "torchattn-retina-weights"
WITH_WEIGHTS = {
    "retina",
    "cluster",
    "measures",
    "tensorboard",
    "test",
    "docs",
    "dev",
}  # these extras


@pytest.fixture
def clone(tmp_path: Path) -> Path:
    """A clone of what the distributions are made of, without most of the files in them."""
    folder = tmp_path / "a clone"
    (folder / "torchattn_blocks").mkdir(parents=True)
    (folder / "weights").mkdir()
    for name in ("pyproject.toml", "hatch_build.py", "README.md", "LICENSE"):
        shutil.copy(ROOT / name, folder)
    shutil.copy(ROOT / "torchattn_blocks" / "__init__.py", folder / "torchattn_blocks")
    (folder / "weights" / "pyproject.toml").touch()
    (folder / "weights" / "large.safetensors").touch()
    return folder


def wheel_of(root: Path) -> Message:
    (path,) = WheelBuilder(str(root)).build(directory=str(root / "dist"), versions=["standard"])
    with zipfile.ZipFile(path) as wheel:
        (name,) = (name for name in wheel.namelist() if name.endswith(".dist-info/METADATA"))
        return message_from_string(wheel.read(name).decode())


def of_weights(metadata: Message) -> dict[str, Requirement]:
    """The requirement of the weights, by the extra that has it."""
    found = {}
    for line in metadata.get_all("Requires-Dist", []):
        requirement = Requirement(line)
        if canonicalize_name(requirement.name) == WEIGHTS:
            extra = str(requirement.marker).removeprefix('extra == "').removesuffix('"')
            found[extra] = requirement
    return found


def test_a_clone_has_its_weights_beside_it(clone: Path) -> None:
    needed = of_weights(wheel_of(clone))
    assert needed.keys() == WITH_WEIGHTS
    for requirement in needed.values():
        url = requirement.url or ""
        assert url.startswith("file://")
        assert Path(url2pathname(url.removeprefix("file://"))) == clone / "weights"


@pytest.mark.parametrize("left", ["nothing", "another folder"])
def test_without_them_they_are_required_by_version(clone: Path, left: str) -> None:
    shutil.rmtree(clone / "weights")
    if left == "another folder":
        (clone / "weights").mkdir()
    needed = of_weights(wheel_of(clone))
    assert needed.keys() == WITH_WEIGHTS
    assert {str(requirement.specifier) for requirement in needed.values()} == {"<2,>=1"}
    assert {requirement.url for requirement in needed.values()} == {None}


def test_the_sdist_and_its_wheel_name_no_path(clone: Path, tmp_path: Path) -> None:
    (path,) = SdistBuilder(str(clone)).build(directory=str(tmp_path), versions=["standard"])
    with tarfile.open(path) as sdist:
        sdist.extractall(tmp_path / "from", filter="data")
    (root,) = (tmp_path / "from").iterdir()
    assert not (root / "weights").exists()
    info = message_from_string((root / "PKG-INFO").read_text(encoding="utf-8"))
    for metadata in (info, wheel_of(root)):
        needed = of_weights(metadata)
        assert needed.keys() == WITH_WEIGHTS
        assert {str(requirement.specifier) for requirement in needed.values()} == {"<2,>=1"}
        assert "file:" not in metadata.as_string().partition("\n\n")[0]
        assert set(metadata.get_all("Provides-Extra", [])) == {*needed, "bench", "hub", "keras"}


@pytest.mark.skipif(not (ROOT / "weights").exists(), reason="no clone")
def test_the_weights_carry_the_licence() -> None:
    assert (ROOT / "weights" / "LICENSE").read_bytes() == (ROOT / "LICENSE").read_bytes()
