"""The account of what `segment` did: which images are done, and what stops leave of it."""

import hashlib
import json
import os
import re
import signal
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from faked_segmenting import fake_segmenting, written
from hypothesis import given
from hypothesis import strategies as st

from torchattn_blocks import __version__ as version
from torchattn_blocks.retina.cohort import options as options_module
from torchattn_blocks.retina.cohort.account import Account, measures_table
from torchattn_blocks.retina.cohort.images import CohortImage
from torchattn_blocks.retina.cohort.manifest import COLUMNS, Manifest, locked, read_manifest
from torchattn_blocks.retina.cohort.options import Options
from torchattn_blocks.retina.cohort.outputs import Outputs
from torchattn_blocks.retina.cohort.segmenter import Segmented, state_of
from torchattn_blocks.retina.write import write_png

HOUR = 3600


def row(path, **cells):
    return dict.fromkeys(COLUMNS, "") | {"path": path} | cells


AWKWARD = (
    row("a.png", name="a", status="done", error="", seconds="0.1", made_by="0123"),
    row('b,"c".png', name='b,"c"', status="failed", error='one\ntwo\r\nthree, "four"\n'),
    row("é\udcff.png", name="é\udcff", status="done", error="\r", made_by="ü"),
    row("x\ny.png", name="\n", error='"', made_by="'"),
    row("z.png", name='","', error='""\n""', made_by="4"),
)


@pytest.mark.parametrize("more", [{}, {"sha256": "abc", "density": "0.1"}])
def test_a_stop_at_any_byte_leaves_whole_rows(more, tmp_path):
    path, part = tmp_path / "manifest.csv", tmp_path / "part.csv"
    rows = [one | more for one in AWKWARD]
    manifest = Manifest(path, [])
    ends = [path.stat().st_size]  # the header is written whole
    for one in rows:
        manifest.add(one)
        ends.append(path.stat().st_size)
    content = path.read_bytes()
    if more:
        ends[0] = content.find(b"\n") + 1  # the first row brought columns
    for end in range(ends[0], len(content) + 1):
        part.write_bytes(content[:end])
        whole = sum(line <= end for line in ends[1:])
        assert read_manifest(part) == rows[:whole], content[:end]


def test_what_is_added_after_a_stop_follows_whole_rows(tmp_path):
    path = tmp_path / "manifest.csv"
    Manifest(path, AWKWARD)
    content = path.read_bytes()
    for torn in (1, 5, len(content) // 2):
        path.write_bytes(content[:-torn])
        kept = read_manifest(path)
        Manifest(path, kept).add(AWKWARD[-1])
        assert read_manifest(path) == [*kept, AWKWARD[-1]]


TEXT = st.text(st.characters(exclude_categories=["Cs"]))
PATHS = st.one_of(TEXT, st.binary().map(os.fsdecode))
ROWS = st.builds(row, PATHS, name=PATHS, status=TEXT, error=TEXT, seconds=TEXT, made_by=TEXT)


@given(kept=st.lists(ROWS, max_size=3), added=st.lists(ROWS, max_size=3))
def test_rows_are_read_as_they_were_added(kept, added, tmp_path_factory):
    path = tmp_path_factory.mktemp("out") / "manifest.csv"
    manifest = Manifest(path, kept)
    for one in added:
        manifest.add(one)
    ordered = sorted(kept, key=lambda one: one["path"])
    assert read_manifest(path) == [*ordered, *added]
    assert manifest.sort() == [*ordered, *added]
    assert read_manifest(path) == sorted([*kept, *added], key=lambda one: one["path"])


def test_cells_that_are_not_given_are_empty(tmp_path):
    manifest = Manifest(tmp_path / "manifest.csv", [{"path": "b"}])
    manifest.add({"path": "a", "status": "done"})
    assert read_manifest(manifest.path) == [row("b"), row("a", status="done")]


def test_new_columns_are_added_to_all_rows(tmp_path):
    manifest = Manifest(tmp_path / "manifest.csv", [row("b", sha256="1")])
    manifest.add(row("c", density="2"))
    manifest.add(row("a", error="x\ny"))
    head = manifest.path.read_text().splitlines()[0]
    assert head.split(",") == [*COLUMNS, "sha256", "density"]
    empty = {"sha256": "", "density": ""}
    assert read_manifest(manifest.path) == [
        row("b") | empty | {"sha256": "1"},
        row("c") | empty | {"density": "2"},
        row("a", error="x\ny") | empty,
    ]


def test_each_row_is_on_the_disk_at_once(tmp_path, monkeypatch):
    manifest = Manifest(tmp_path / "manifest.csv", [])
    synced = []
    monkeypatch.setattr(os, "fsync", lambda _: synced.append(read_manifest(manifest.path)))
    for one in AWKWARD:
        manifest.add(one)
    assert synced == [[*AWKWARD[:count]] for count in range(1, len(AWKWARD) + 1)]


def test_no_file_has_no_rows(tmp_path):
    assert read_manifest(tmp_path / "manifest.csv") == []
    (tmp_path / "manifest.csv").touch()
    assert read_manifest(tmp_path / "manifest.csv") == []


@pytest.mark.parametrize(
    ("content", "got"),
    [
        (b"image,age\na,50\n", "image, age"),
        (b"path,name,status\na,a,done\n", "path, name, status"),
        (b"no line", "none"),
        (b"\n", "none"),
        ("path;name".encode("utf-16"), "none"),
        (b"\x89PNG\r\n\x1a\n\x00\x00\xff", ".PNG"),
        (b"x" * 200_000 + b"\n", ""),
    ],
)
def test_a_foreign_file_is_refused_and_stays(content, got, tmp_path, command, monkeypatch):
    fake_segmenting(monkeypatch)
    path = tmp_path / "manifest.csv"
    path.write_bytes(content)
    for name in ("a.png", "w"):
        (tmp_path / name).touch()
    given = ["segment", tmp_path / "a.png", "--weights", tmp_path / "w", "--out", tmp_path]
    message = f"^error: {re.escape(str(path))}: must have the columns path, .*, got {got}\\. Move"
    if content.startswith(b"xx"):
        message = f"^error: {re.escape(str(path))}: not a CSV file .* Move"
    with pytest.raises(SystemExit, match=message):
        command(*given)
    assert path.read_bytes() == content
    assert {file.name for file in tmp_path.iterdir()} <= {"manifest.csv", "a.png", "w"}


class Cohort:
    """A folder of images, and runs over them without a network."""

    def __init__(self, root):
        self.root = root
        (root / "w.safetensors").write_bytes(b"weights")
        (root / "out").mkdir()
        self.options = Options(root / "w.safetensors", root / "out")

    def image(self, name, mask=None, age=2 * HOUR):
        """An image that is older than what is written now."""
        path = self.root / "in" / f"{name}.png"
        for file in filter(None, (path, mask)):
            file.parent.mkdir(parents=True, exist_ok=True)
            if not file.exists():
                file.write_bytes(os.fsencode(name))
                aged(file, age)
        return CohortImage(name, path, mask)

    def account(self, *images, **options):
        self.options = replace(self.options, **options)
        return Account(self.options, self.options.number(), images)

    def run(self, *images, **options):
        """Segment what is to be done; its names."""
        account = self.account(*images, **options)
        for image in account.todo:
            written(self.options, image)
            state = state_of(image) if image.path.exists() else ""
            account.add(Segmented(image, seconds=1.5, made_of=state))
        account.finish()
        return [image.name for image in account.todo]

    @property
    def manifest(self):
        return self.root / "out" / "manifest.csv"

    @property
    def rows(self):
        return {one["name"]: one for one in read_manifest(self.manifest)}


def aged(path, seconds):
    stat = path.stat()
    os.utime(path, ns=(stat.st_atime_ns, stat.st_mtime_ns - round(seconds * 1e9)))


@pytest.fixture
def cohort(tmp_path):
    return Cohort(tmp_path)


@pytest.fixture
def ab(cohort):
    """Two images that are done."""
    images = cohort.image("a"), cohort.image("b")
    assert cohort.run(*images) == ["a", "b"]
    assert cohort.run(*images) == []
    return images


def test_rows_say_what_was_done(cohort):
    a, b = cohort.image("s/a"), cohort.image("b")
    account = cohort.account(b, a)
    account.add(Segmented(b, seconds=0.12345, error="b.png:\n  no,\tgood\r\n"))
    account.add(Segmented(a, seconds=2, sha256="f" * 64))
    number = cohort.options.number()
    assert account.finish() == [
        {
            **row(str(b.path), name="b", status="failed", error="b.png: no, good"),
            **{"seconds": "0.123", "made_by": number, "sha256": ""},
        },
        {
            **row(str(a.path), name="s/a", status="done", made_by=number),
            **{"seconds": "2.000", "sha256": "f" * 64},
        },
    ]
    assert [one["name"] for one in read_manifest(cohort.manifest)] == ["b", "s/a"]


def changed(path):
    path.write_bytes(b"changed")


def replaced(path):
    other = path.with_name("other")
    other.write_bytes(b"another image")
    other.replace(path)


def replaced_by_older(path):
    other = path.with_name("other")
    other.write_bytes(b"another image")
    aged(other, 100 * HOUR)
    other.replace(path)


@pytest.mark.parametrize("change", [changed, replaced, replaced_by_older])
@pytest.mark.parametrize("sha256", [False, True])
def test_a_changed_image_is_done_again(change, sha256, cohort, ab):
    cohort.run(*ab, sha256=sha256)
    for file in cohort.options.outputs.of("b"):
        aged(file, HOUR)
    change(ab[1].path)
    assert cohort.run(*ab) == ["b"]


@pytest.mark.parametrize("change", [changed, replaced, replaced_by_older])
def test_an_image_whose_mask_changed_is_done_again(change, cohort):
    images = [cohort.image(name, cohort.root / "masks" / name) for name in "ab"]
    cohort.run(*images)
    for file in cohort.options.outputs.of("b"):
        aged(file, HOUR)
    change(images[1].mask)
    assert cohort.run(*images) == ["b"]


@pytest.mark.parametrize(("before", "after"), [(None, "m"), ("m", None), ("m", "other")])
def test_an_image_with_another_mask_is_done_again(before, after, cohort):
    masks = [name and cohort.root / "masks" / name for name in (before, after)]
    first, second = (cohort.image("a", mask) for mask in masks)
    cohort.run(first)
    assert cohort.run(second) == ["a"]


@pytest.mark.parametrize("kind", ["probability", "vessels", "fov", "overlay", "uncertainty"])
@pytest.mark.parametrize("layout", ["names", "folders"])
def test_an_image_without_whole_files_is_done_again(kind, layout, cohort):
    images = cohort.image("a"), cohort.image("s/b")
    cohort.run(*images, layout=layout, uncertainty=2)
    path = cohort.options.outputs.file("s/b", kind)
    path.write_bytes(path.read_bytes()[:-1])
    assert cohort.run(*images) == ["s/b"]
    path.unlink()
    assert cohort.run(*images) == ["s/b"]
    path.unlink()
    path.mkdir()
    assert [one.name for one in cohort.account(*images).todo] == ["s/b"]


def test_files_are_whole_that_end_as_png(tmp_path):
    outputs = Outputs(tmp_path, "names", ("fov",))
    write_png(tmp_path / "a-fov.png", np.zeros((3, 3), np.uint8))
    assert outputs.are_whole("a")
    assert not outputs.are_whole("b")
    content = (tmp_path / "a-fov.png").read_bytes()
    for torn in [content[:end] for end in range(len(content))] + [content + b"\0"]:
        (tmp_path / "a-fov.png").write_bytes(torn)
        assert not outputs.are_whole("a"), torn


OTHER = [
    *({"threshold": 0.4}, {"min_size": 9}, {"fov_diameter": 300.0}, {"fov_diameter": "auto"}),
    *({"flips": True}, {"uncertainty": 3}, {"measure": True}, {"um_per_pixel": 5.0}),
    {"layout": "folders"},
]


@pytest.mark.parametrize("other", OTHER, ids=repr)
def test_other_options_are_other_work(other, cohort, ab):
    assert cohort.run(*ab, **other) == ["a", "b"]
    assert cohort.run(*ab) == []


def test_other_weights_are_other_work(cohort, ab):
    renamed = cohort.options.weights.rename(cohort.root / "renamed.safetensors")
    assert cohort.run(*ab, weights=renamed) == []
    renamed.write_bytes(b"other weights")
    assert cohort.run(*ab) == ["a", "b"]


def test_another_version_is_other_work(cohort, ab, monkeypatch):
    monkeypatch.setattr(options_module, "__version__", f"{version}.1")
    assert cohort.run(*ab) == ["a", "b"]


def test_hashes_and_threads_are_no_other_work(cohort, ab):
    assert cohort.run(*ab, sha256=True, one_thread=True) == []


def test_work_of_two_options_in_turn_is_done_each_time(cohort, ab):
    for threshold in (0.4, 0.5):
        assert cohort.run(*ab, threshold=threshold) == ["a", "b"]
    assert {one["made_by"] for one in cohort.rows.values()} == {cohort.options.number()}


def test_what_failed_is_tried_again(cohort):
    images = cohort.image("a"), cohort.image("b")
    account = cohort.account(*images)
    for image in images:
        written(cohort.options, image)
        error = "full" * (image.name == "b")
        account.add(Segmented(image, error=error, made_of=state_of(image)))
    assert [one.name for one in cohort.account(*images).todo] == ["b"]
    assert list(cohort.rows) == ["a"]


def test_images_that_do_not_exist_are_never_done(cohort, ab):
    ab[1].path.unlink()
    assert cohort.run(*ab) == ["b"]
    assert cohort.run(*ab) == ["b"]


def test_rows_of_other_images_stay(cohort, ab):
    before = cohort.rows
    other = cohort.image("0/c")
    account = cohort.account(other, threshold=0.3)
    account.add(Segmented(other))
    assert [one["name"] for one in account.finish()] == ["0/c"]
    assert list(cohort.rows) == ["0/c", "a", "b"]
    assert {name: cohort.rows[name] for name in "ab"} == before


def test_rows_of_files_that_are_written_over_go(cohort, ab):
    other = cohort.root / "elsewhere" / "a.jpg"
    other.parent.mkdir()
    other.touch()
    cohort.account(CohortImage("a", other), ab[1])
    assert list(cohort.rows) == ["b"]  # before the first file is written
    assert cohort.run(CohortImage("a", other)) == ["a"]
    assert cohort.rows["a"]["path"] == str(other)
    assert cohort.run(*ab) == ["a"]


def test_an_image_of_another_name_is_done_again(cohort, ab):
    assert cohort.run(CohortImage("z", ab[0].path)) == ["z"]
    assert cohort.run(CohortImage("z", ab[0].path)) == []


def test_an_image_may_have_files_of_two_names(cohort, ab):
    cohort.run(CohortImage("z", ab[0].path))
    assert set(cohort.rows) == {"a", "b", "z"}
    assert cohort.run(*ab) == []


def test_a_stop_leaves_only_the_rest_to_do(cohort):
    images = [cohort.image(f"{n}") for n in range(5)]
    account = cohort.account(*images)
    for image in images[3], images[1]:
        written(cohort.options, image)
        account.add(Segmented(image, made_of=state_of(image)))
    written(cohort.options, images[0])  # stopped before its row was whole
    cohort.manifest.write_bytes(cohort.manifest.read_bytes() + b"/in/0.png,0,do")
    assert cohort.run(*images) == ["0", "2", "4"]
    assert list(cohort.rows) == ["0", "1", "2", "3", "4"]


def test_relative_and_absolute_paths_are_one_image(cohort, ab, monkeypatch):
    monkeypatch.chdir(cohort.root)
    assert cohort.run(*(image._replace(path=Path("in", image.path.name)) for image in ab)) == []


def test_hashes_are_filled_in(cohort, ab):
    assert cohort.run(*ab, cohort.image("c"), sha256=True) == ["c"]
    for name in "ab":
        assert cohort.rows[name]["sha256"] == hashlib.sha256(name.encode()).hexdigest()
        assert cohort.rows[name]["status"] == "done"
    before = cohort.rows
    assert cohort.run(*ab, sha256=False) == []
    assert cohort.rows == before


UNREADABLE = [b"\xff\xfe", b"a\xe9", b'a,"b"\'', b" ", "é".encode()]


@pytest.mark.parametrize("name", UNREADABLE)
def test_names_of_any_bytes_are_found_again(name, cohort):
    image = cohort.image(os.fsdecode(name))
    assert cohort.run(image) == [os.fsdecode(name)]
    assert cohort.run(image) == []
    assert os.fsencode(cohort.rows[os.fsdecode(name)]["path"]) == os.fsencode(image.path)


@pytest.mark.parametrize("measure", [False, True])
def test_the_command_takes_names_of_any_bytes(measure, tmp_path, command, monkeypatch):
    seen = fake_segmenting(monkeypatch)
    (tmp_path / "w").touch()
    (tmp_path / "in").mkdir()
    for name in (b"a\xff.png", b"b.png"):
        (tmp_path / "in" / os.fsdecode(name)).touch()
    given = ["segment", tmp_path / "in", "--weights", tmp_path / "w", "--out", tmp_path / "out"]
    command(*given, *["--measure"] * measure)
    assert [image.name for image in seen] == ["a\udcff", "b"]


class Measured:
    """What stands for the measures of vessels."""

    def row(self, um_per_pixel):
        measured = {"fov_diameter_px": 10, "length_px": 1 / 3, "tortuosity": float("nan")}
        return measured | ({"length_um": 2.0} if um_per_pixel else {})


def test_measures_are_those_of_these_images(cohort):
    images = [cohort.image(name) for name in "abcd"]
    account = cohort.account(*images, measure=True, sha256=True)
    for image in reversed(images):
        measures = None if image.name == "b" else Measured()
        error = "bad" if image.name in "bd" else ""
        account.add(Segmented(image, measures=measures, sha256="0", error=error))
    rows = account.finish()
    lines = ["image,fov_diameter_px,length_px,tortuosity", "a,10,0.333333,", "c,10,0.333333,"]
    assert measures_table(rows, None).splitlines() == lines
    assert measures_table([one for one in rows if one["name"] == "b"], None) == ""


def test_measures_have_no_columns_of_other_images(cohort):
    for name, um in (("a", 5.0), ("b", None)):
        account = cohort.account(cohort.image(name), measure=True, um_per_pixel=um)
        account.add(Segmented(cohort.image(name), measures=Measured()))
    head = measures_table(account.finish(), None).splitlines()[0]
    assert head.split(",") == ["image", "fov_diameter_px", "length_px", "tortuosity"]


def test_options_are_kept_by_their_numbers(cohort, ab):
    first = cohort.options.number()
    cohort.run(*ab, threshold=0.4, uncertainty=3)
    known = json.loads((cohort.root / "out" / "options.json").read_text())
    second = cohort.options.number()
    assert list(known) == [first, second]
    assert {number for one in cohort.rows.values() for number in [one["made_by"]]} == {second}
    assert known[first]["threshold"] == 0.5
    assert known[second] == known[first] | {"threshold": 0.4, "uncertainty": 3}
    assert known[first]["weights_sha256"] == hashlib.sha256(b"weights").hexdigest()
    assert known[first]["version"] == version
    assert re.fullmatch("[0-9a-f]{12}", first)


def test_options_that_are_known_are_not_written_again(cohort, ab):
    path = cohort.root / "out" / "options.json"
    aged(path, HOUR)
    before = path.stat()
    cohort.run(*ab)
    assert path.stat() == before


@pytest.mark.parametrize("content", ["[]", '["x"]', "1", "no json", '{"mine": 1}'])
def test_a_foreign_options_file_is_refused_and_stays(content, cohort):
    path = cohort.root / "out" / "options.json"
    path.write_text(content)
    with pytest.raises(ValueError, match=re.escape(str(path))):
        cohort.account(cohort.image("a"))
    assert path.read_text() == content


HOLD = """
import sys
from pathlib import Path
from torchattn_blocks.retina.cohort.manifest import locked
with locked(Path(sys.argv[1])):
    print("locked", flush=True)
    sys.stdin.read()
"""


@pytest.fixture
def holder(tmp_path):
    """Another process that holds the lock."""
    start = [sys.executable, "-c", HOLD, str(tmp_path)]
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "text": True}
    with subprocess.Popen(start, **pipes) as process:
        assert process.stdout.readline() == "locked\n"
        yield process
        process.kill()


def refused(out):
    return pytest.raises(ValueError, match=rf"^--out {re.escape(str(out))}: another segment is wr")


def test_a_second_process_is_refused(holder, tmp_path):
    for _ in range(2):
        with refused(tmp_path), locked(tmp_path):
            pass
    holder.stdin.close()
    assert holder.wait() == 0
    with locked(tmp_path), refused(tmp_path), locked(tmp_path):
        pass
    assert list(tmp_path.iterdir()) == []


def test_a_second_segment_changes_nothing(holder, tmp_path, command, monkeypatch):
    seen = fake_segmenting(monkeypatch)
    for name in ("a.png", "w"):
        (tmp_path / name).touch()
    given = ["segment", tmp_path / "a.png", "--weights", tmp_path / "w", "--out", tmp_path]
    with pytest.raises(SystemExit, match=r"^error: --out .*: another segment is writing"):
        command(*given)
    assert seen == []
    names = {file.name for file in tmp_path.iterdir()}
    assert names == {"a.png", "w", ".segment.lock"}
    holder.send_signal(signal.SIGKILL)
    holder.wait()
    command(*given)
    assert [image.name for image in seen] == ["a"]
    assert not (tmp_path / ".segment.lock").exists()


def test_the_lock_does_not_outlive_its_process(holder, tmp_path):
    holder.send_signal(signal.SIGKILL)
    assert holder.wait() == -signal.SIGKILL
    entered = []
    with locked(tmp_path):
        entered.append(True)
    assert entered


def test_an_error_gives_the_lock_back(tmp_path):
    for error in (RuntimeError, KeyboardInterrupt):
        with pytest.raises(error), locked(tmp_path):
            raise error
    assert list(tmp_path.iterdir()) == []
