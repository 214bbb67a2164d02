"""The command `segment` on many images: stopped anywhere, by several workers, in little memory."""

import csv
import json
import os
import random
import signal
import time
from functools import partial

import numpy as np
import psutil
import pytest
from cohorts import draw, pictures, rows, small_weights, start
from PIL import Image

from torchattn_blocks.retina import load_weights, measure_vessels, segment
from torchattn_blocks.retina.cohort import segmenter as segmenter_module
from torchattn_blocks.retina.cohort.manifest import read_manifest
from torchattn_blocks.retina.commands import segment as segment_module

COUNT = 100


@pytest.fixture(scope="module")
def cohort(tmp_path_factory):
    root = tmp_path_factory.mktemp("cohort")
    return draw(root / "eyes", COUNT), small_weights(root / "small.safetensors")


@pytest.fixture(scope="module")
def whole(cohort, tmp_path_factory):
    """What an undisturbed run leaves."""
    return undisturbed(*cohort, tmp_path_factory.mktemp("whole"))


def undisturbed(images, weights, out):
    program = start("segment", images, "--weights", weights, "--out", out)
    said, _ = program.communicate()
    assert program.returncode == 0, said
    return out


def kill_all(program):
    os.killpg(program.pid, signal.SIGKILL)
    program.communicate()


def holds_rows(out, count):
    manifest = out / "manifest.csv"
    return manifest.exists() and manifest.read_bytes().count(b"\n") > count


def wait_for(condition, program):
    while not condition():
        assert program.poll() is None, program.communicate()[0]
        time.sleep(0.005)


def check_part(out, whole):
    """Each row is of an image whose files are whole, and none is there twice."""
    complete = pictures(whole)
    done = read_manifest(out / "manifest.csv")
    names = [row["name"] for row in done]
    assert len(set(names)) == len(names)
    for row in done:
        assert row["status"] == "done"
        for kind in ("probability", "vessels", "fov", "overlay"):
            picture = f"{row['name']}-{kind}.png"
            assert (out / picture).read_bytes() == complete[picture]
    for picture, content in pictures(out).items():  # no half file
        assert content == complete[picture]
    return {name: (out / f"{name}-overlay.png").stat().st_mtime_ns for name in names}


@pytest.mark.parametrize(
    ("jobs", "kills"), [(1, 2), (2, 1), pytest.param(1, 20, marks=pytest.mark.slow)]
)
@pytest.mark.timeout(600)
def test_after_kills_at_random_moments_nothing_is_lost_or_twice(cohort, tmp_path, jobs, kills):
    count = 30 * (kills + 1)
    images, weights = draw(tmp_path / "eyes", count), cohort[1]
    whole, out = undisturbed(images, weights, tmp_path / "whole"), tmp_path / "out"
    given = ["segment", images, "--weights", weights, "--out", out, "--jobs", jobs]
    chance = random.Random(jobs + kills)
    before = {}
    for _ in range(kills):
        program = start(*given)
        wait_for(partial(holds_rows, out, len(before) + chance.randrange(1, 5)), program)
        time.sleep(chance.uniform(0, 0.03))
        kill_all(program)
        now = check_part(out, whole)
        assert before.items() <= now.items()  # what was done was not done again
        assert len(before) < len(now) < count
        before = now
    program = start(*given)
    said, _ = program.communicate()
    assert program.returncode == 0, said
    assert f"{len(before)} of {count} images are done already" in said
    assert before.items() <= check_part(out, whole).items()
    assert pictures(out) == pictures(whole)
    assert rows(out) == rows(whole)
    assert {path.suffix for path in out.iterdir()} == {".png", ".csv", ".json"}


def test_processes_write_what_one_writes(command, cohort, whole, tmp_path):
    images, weights = cohort
    command("segment", images, "--weights", weights, "--out", tmp_path, "--jobs", 2)
    assert rows(tmp_path) == rows(whole)
    assert pictures(tmp_path) == pictures(whole)


def test_the_files_are_those_of_the_function(cohort, whole):
    images, weights = cohort
    trained = load_weights(weights)
    for number in (0, 7, 39):
        image = np.array(Image.open(images / f"eye-{number:03d}.png"))
        fov = np.array(Image.open(whole / f"eye-{number:03d}-fov.png")) > 0
        expected = segment(image, trained) * fov * 65535
        got = np.array(Image.open(whole / f"eye-{number:03d}-probability.png"))
        assert np.abs(got - expected).max() <= 2


def test_ctrl_c_ends_at_once_and_the_next_run_goes_on(cohort, whole, tmp_path):
    images, weights = cohort
    for jobs in (1, 2):
        out = tmp_path / str(jobs)
        given = ["segment", images, "--weights", weights, "--out", out, "--jobs", jobs]
        program = start(*given)
        wait_for(partial(holds_rows, out, 3), program)
        children = psutil.Process(program.pid).children(recursive=True)
        os.killpg(program.pid, signal.SIGINT)
        said, _ = program.communicate()
        assert program.returncode == 1
        assert "Traceback" not in said
        assert said.rstrip().endswith("Stopped.")
        _, alive = psutil.wait_procs(children, timeout=20)
        assert [one for one in alive if one.status() != psutil.STATUS_ZOMBIE] == []
        done = rows(out)
        assert 3 <= len(done) < COUNT
        assert [row["path"] for row in done] == sorted(row["path"] for row in done)
        program = start(*given)
        assert f"{len(done)} of {COUNT} images are done already" in program.communicate()[0]
        assert rows(out) == rows(whole)
        assert pictures(out) == pictures(whole)


def test_a_broken_image_costs_one_row(command, cohort, tmp_path):
    images, weights = cohort
    (tmp_path / "broken.png").write_bytes((images / "eye-000.png").read_bytes()[:500])
    table = tmp_path / "cohort.csv"
    paths = [images / "eye-001.png", "broken.png", "absent.png", images / "eye-002.png"]
    table.write_text("image,patient\n" + "".join(f"{path},x\n" for path in paths))
    out = tmp_path / "out"
    given = ["segment", table, "--weights", weights, "--out", out]
    for time_around in range(2):  # what failed is tried again
        with pytest.raises(SystemExit) as stop:
            command(*given)
        head, *lines = str(stop.value).splitlines()
        assert head == "error: 2 of 4 images could not be segmented:"
        assert sorted(line.split(":")[0] for line in lines) == [
            str(tmp_path / "absent.png"),
            str(tmp_path / "broken.png"),
        ]
        done = {row["name"]: row for row in read_manifest(out / "manifest.csv")}
        assert {name: row["status"] for name, row in done.items()} == {
            "absent": "failed",
            "broken": "failed",
            "eye-001": "done",
            "eye-002": "done",
        }, time_around
        assert done["absent"]["error"].endswith("this file does not exist")
        assert "cannot be decoded" in done["broken"]["error"]
    (tmp_path / "broken.png").write_bytes((images / "eye-000.png").read_bytes())
    (tmp_path / "absent.png").write_bytes((images / "eye-003.png").read_bytes())
    assert "2 of 4 images are done already" in command(*given)
    assert {row["status"] for row in read_manifest(out / "manifest.csv")} == {"done"}


def test_in_a_batch_that_fails_each_image_goes_alone(command, cohort, tmp_path, monkeypatch):
    images, weights = cohort
    whole, alone = segmenter_module.seen_probabilities, []

    def short_of_memory(seen, *arguments, **options):
        alone.extend([len(alone)] * (len(seen) == 1))
        if len(seen) > 1 or len(alone) == 3:
            raise RuntimeError("out of memory")
        return whole(seen, *arguments, **options)

    monkeypatch.setattr(segmenter_module, "seen_probabilities", short_of_memory)
    monkeypatch.setattr(segment_module, "_AT_ONCE", 1)
    with pytest.raises(SystemExit, match=r"1 of 100 images .*\n.*eye-002\.png: out of memory"):
        command("segment", images, "--weights", weights, "--out", tmp_path, "--batch-size", 8)
    failed = [row["name"] for row in rows(tmp_path) if row["status"] == "failed"]
    assert failed == ["eye-002"]
    assert len(rows(tmp_path)) == COUNT


def test_measures_that_fail_cost_one_row(command, cohort, tmp_path, monkeypatch):
    images, weights = cohort
    paths = [images / f"eye-{number:03d}.png" for number in range(3)]

    def measured(vessels, fov, calls=[]):  # noqa: B006
        calls.append(1)
        if len(calls) == 2:
            raise ValueError("no vessels to measure")
        return measure_vessels(vessels, fov)

    monkeypatch.setattr(segmenter_module, "measure_vessels", measured)
    with pytest.raises(SystemExit, match=r"1 of 3 images .*\n.*: no vessels to measure"):
        command("segment", *paths, "--weights", weights, "--measure", "--out", tmp_path)
    assert sorted(row["status"] for row in rows(tmp_path)) == ["done", "done", "failed"]


def test_what_cannot_be_written_stops_the_run(command, cohort, tmp_path, monkeypatch):
    images, weights = cohort

    def full(path, *_, **__):
        raise OSError(28, "No space left on device", str(path))

    monkeypatch.setattr("torchattn_blocks.retina.cohort.segmenter.write_png", full)
    with pytest.raises(SystemExit, match="No space left on device"):
        command("segment", images, "--weights", weights, "--out", tmp_path / "out")
    assert read_manifest(tmp_path / "out" / "manifest.csv") == []


def test_a_batch_gives_what_each_image_alone_gives(command, cohort, tmp_path):
    images, weights = cohort
    given = ["segment", images, "--weights", weights, "--flips", "--out"]
    command(*given, tmp_path / "alone")
    command(*given, tmp_path / "eight", "--batch-size", 8)
    for number in range(COUNT):
        one, other = (
            np.array(Image.open(tmp_path / out / f"eye-{number:03d}-probability.png")).astype(int)
            for out in ("alone", "eight")
        )
        assert np.abs(one - other).max() <= 2
    command(*given, tmp_path / "shared", "--batch-size", 8, "--jobs", 2)
    assert pictures(tmp_path / "shared") == pictures(tmp_path / "eight")


def test_measures_are_in_the_manifest_and_survive_a_stop(command, cohort, tmp_path):
    images, weights = cohort
    paths = [images / f"eye-{number:03d}.png" for number in range(6)]
    given = ["--weights", weights, "--measure", "--um-per-pixel", 5, "--sha256", "--out"]
    command("segment", *paths, *given, tmp_path / "at once")
    command("segment", *paths[:3], *given, tmp_path / "in two")
    assert "3 of 6" in command("segment", *paths, *given, tmp_path / "in two")
    tables = [(tmp_path / out / "measures.csv").read_text() for out in ("at once", "in two")]
    assert tables[0] == tables[1]
    measured = list(csv.DictReader(tables[0].splitlines()))
    assert [row["image"] for row in measured] == [path.stem for path in paths]
    for row in measured:
        [same] = [one for one in rows(tmp_path / "in two") if one["name"] == row["image"]]
        assert len(same["sha256"]) == 64
        assert {name: same[name] for name in row if name != "image"} == {
            name: cell for name, cell in row.items() if name != "image"
        }
    assert "length_um" in measured[0]


def test_a_tree_is_written_as_a_tree(command, cohort, tmp_path):
    images, weights = cohort
    for place in ("a/left", "b/left"):
        (tmp_path / "tree" / place).parent.mkdir(parents=True)
        content = (images / f"eye-00{ord(place[0]) % 2}.png").read_bytes()
        (tmp_path / "tree" / f"{place}.png").write_bytes(content)
    for layout, expected in (
        ("names", "a/left-vessels.png"),
        ("folders", "vessels/b/left.png"),
    ):
        out = tmp_path / layout
        given = ["--recursive", "--weights", weights, "--layout", layout, "--out", out]
        command("segment", tmp_path / "tree", *given)
        assert len(pictures(out)) == 8
        assert expected in pictures(out)
        assert [row["name"] for row in rows(out)] == ["a/left", "b/left"]
        assert "2 of 2" in command("segment", tmp_path / "tree", *given)


def test_what_the_number_stands_for_is_kept(command, cohort, tmp_path):
    images, weights = cohort
    given = ["segment", images / "eye-000.png", "--weights", weights, "--out", tmp_path]
    command(*given)
    command(*given, "--threshold", 0.4)
    [row] = rows(tmp_path)
    known = json.loads((tmp_path / "options.json").read_text())
    assert [one["threshold"] for one in known.values()] == [0.5, 0.4]
    assert known[row["made_by"]]["threshold"] == 0.4


def test_only_one_command_writes_to_a_folder(command, cohort, tmp_path):
    images, weights = cohort
    given = ["segment", images, "--weights", weights, "--out", tmp_path]
    program = start(*given)
    wait_for(lambda: (tmp_path / "manifest.csv").exists(), program)
    program.send_signal(signal.SIGSTOP)
    try:
        with pytest.raises(SystemExit, match="another segment is writing to this folder"):
            command(*given)
    finally:
        program.send_signal(signal.SIGCONT)
        kill_all(program)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--jobs", "0"], "--jobs must be at least 1, got 0"),
        (["--batch-size", "0"], "--batch-size must be at least 1, got 0"),
        (["--jobs", "2", "--scheduler", "tcp://127.0.0.1:9"], "--jobs is of this machine"),
    ],
)
def test_wrong_numbers_are_refused(command, cohort, tmp_path, arguments, message):
    with pytest.raises(SystemExit, match=f"^error: {message}"):
        command("segment", cohort[0], "--out", tmp_path / "out", *arguments)
    assert not (tmp_path / "out").exists()
