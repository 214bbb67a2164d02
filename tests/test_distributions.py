"""What the distributions hold and require: the weights of `[retina]`, README, version."""

import hashlib
import importlib.util
import re
import shutil
import subprocess
import sys
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

import torchattn_blocks
from torchattn_blocks import env

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


def test_two_builds_have_the_same_bytes(clone: Path, tmp_path: Path) -> None:
    other = tmp_path / "elsewhere"
    shutil.copytree(clone, other)
    for folder in (clone, other):
        shutil.rmtree(folder / "weights")
    digests = {
        hashlib.sha256(Path(path).read_bytes()).hexdigest()
        for folder in (clone, other)
        for builder in (SdistBuilder(str(folder)), WheelBuilder(str(folder)))
        for path in builder.build(directory=str(folder / "dist"), versions=["standard"])
    }
    assert len(digests) == 2  # that of the sdist, and that of the wheel


def test_links_of_the_readme_lead_to_the_repository() -> None:
    spec = importlib.util.spec_from_file_location("hatch_build", ROOT / "hatch_build.py")
    assert spec is not None
    assert spec.loader is not None
    build = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(build)
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    text = build.with_addresses(readme, "https://example.org/repository/")
    links = re.findall(r"\]\(([^)]*)\)", text)
    assert len(links) > 30
    for link, before in zip(links, re.findall(r"\]\(([^)]*)\)", readme), strict=True):
        if before.startswith(("https:", "#")):
            assert link == before
        else:
            kind = "raw" if before.endswith((".png", ".jpg")) else "blob"
            assert link == f"https://example.org/repository/{kind}/HEAD/{before}"
            assert (ROOT / before.partition("#")[0]).exists()


def test_without_an_address_the_readme_stays_as_it_is(clone: Path) -> None:
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    assert wheel_of(clone).get_payload() == readme
    project = clone / "pyproject.toml"
    text = project.read_text(encoding="utf-8")
    address = 'Repository = "https://example.org/r"\n'
    project.write_text(re.sub(r"# Repository = .*\n", address, text), encoding="utf-8")
    metadata = wheel_of(clone)
    assert "Repository, https://example.org/r" in metadata.get_all("Project-URL", [])
    assert "](https://example.org/r/blob/HEAD/docs/unet.md)" in str(metadata.get_payload())


def test_one_version_stands_everywhere() -> None:
    version = torchattn_blocks.__version__
    citation = (ROOT / "CITATION.cff").read_text(encoding="utf-8")
    assert re.findall(r"^version: (.*)$", citation, re.MULTILINE) == [version]
    changes = (ROOT / "CHANGELOG.md").read_text(encoding="utf-8")
    released = re.findall(r"^## \[(\d.*)\] - (\d{4}-\d\d-\d\d)$", changes, re.MULTILINE)
    assert released[0][0] == version
    assert f"date-released: {released[0][1]}" in citation.splitlines()


def test_the_address_of_the_repository_is_the_same_everywhere() -> None:
    project = (ROOT / "pyproject.toml").read_text(encoding="utf-8")
    citation = (ROOT / "CITATION.cff").read_text(encoding="utf-8")
    addresses = re.findall(r'^Repository = "(.+)"', project, re.MULTILINE)
    assert re.findall(r"^repository-code: (.+)$", citation, re.MULTILINE) == addresses


def test_the_environment_names_what_users_can_install() -> None:
    found = env.versions()
    assert found["torchattn_blocks"] == torchattn_blocks.__version__
    assert found["torch"].startswith("2.")
    assert {"numpy", "skan", "distributed", "huggingface-hub", "h5py", WEIGHTS} <= found.keys()
    assert not {"pytest", "sphinx", "ruff", ""} & found.keys()


def test_the_environment_is_printed_by_a_command() -> None:
    command = [sys.executable, "-m", "torchattn_blocks.env"]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    assert done.stdout.startswith(f"torchattn_blocks: {torchattn_blocks.__version__}\n")
    assert "\nOS: " in done.stdout


def test_what_is_not_installed_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(env, "PACKAGE", "no-such-package")
    (said,) = env.versions().values()
    assert said == f"{torchattn_blocks.__version__}, not installed"


@pytest.mark.skipif(not (ROOT / "weights").exists(), reason="no clone")
def test_the_weights_carry_the_licence() -> None:
    assert (ROOT / "weights" / "LICENSE").read_bytes() == (ROOT / "LICENSE").read_bytes()
