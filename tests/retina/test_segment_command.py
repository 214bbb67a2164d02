"""The command `segment` on other people's photographs, folders and habits."""

import numpy as np
import pytest
import torch
from PIL import Image

from torchattn_blocks.retina import (
    Network,
    Settings,
    Trained,
    estimate_fov,
    load_weights,
    overlay,
    save_weights,
    segment,
    segment_monte_carlo,
    synthesize,
)
from torchattn_blocks.retina.data.folders import find_masks
from torchattn_blocks.retina.specks import without_specks


@pytest.fixture(scope="module")
def fundus():
    return synthesize(3, height=240, width=230)


@pytest.fixture
def eye(fundus, tmp_path):
    path = tmp_path / "eye.png"
    Image.fromarray(fundus.image).save(path)
    return path


@pytest.fixture(scope="module")
def small(fundus, tmp_path_factory):
    """The weights of a small network at the scale of `drive`, where results do not matter."""
    path = tmp_path_factory.mktemp("weights") / "small.safetensors"
    network = Network("backbone_dropblock", widths=(4, 8))
    torch.manual_seed(0)
    model = network.build()
    settings = Settings(network, fov_diameter=535)
    middle = np.median(segment(fundus.image, Trained(model, settings))[fundus.fov])
    with torch.no_grad():  # half of the pixels are vessel, and clearly so
        model.head.bias -= float(np.log(middle / (1 - middle)))
        model.head.weight *= 200
        model.head.bias *= 200
    save_weights(path, model, settings)
    return path


def written(out, stem="eye"):
    return {
        kind: np.array(Image.open(out / f"{stem}-{kind}.png"))
        for kind in ("probability", "vessels", "fov", "overlay")
    }


def test_the_field_of_view_is_written_and_outlined(command, eye, fundus, tmp_path):
    assert command("segment", eye, "--out", tmp_path / "out").split() == [
        str(tmp_path / "out" / "eye-overlay.png")
    ]
    files = written(tmp_path / "out")
    fov = estimate_fov(fundus.image)
    np.testing.assert_array_equal(files["fov"], fov * np.uint8(255))
    np.testing.assert_array_equal(
        files["overlay"], overlay(fundus.image, files["vessels"] > 0, fov)
    )
    assert (files["overlay"] == (230, 159, 0)).all(2).sum() > 500


def test_given_fields_of_view_are_taken(command, eye, fundus, small, tmp_path):
    fov = fundus.fov & (np.arange(230) > 80)
    for name in ("eye_mask.png", "other.png"):
        (tmp_path / "masks").mkdir(exist_ok=True)
        Image.fromarray(fov).save(tmp_path / "masks" / name)
    given = ["--weights", small, "--masks", tmp_path / "masks"]
    command("segment", eye, *given, "--out", tmp_path / "out")
    files = written(tmp_path / "out")
    np.testing.assert_array_equal(files["fov"] > 0, fov)
    assert not files["probability"][~fov].any()
    trained = load_weights(small)
    expected = segment(fundus.image, trained, fov=fov) * fov
    np.testing.assert_allclose(files["probability"] / 65535, expected, atol=1e-4)
    assert np.abs(segment(fundus.image, trained) * fov - expected).max() > 1e-3  # it is felt
    (tmp_path / "masks" / "eye_mask.png").unlink()
    with pytest.raises(
        SystemExit, match=r"--masks .*: this folder holds no field of view of .*eye"
    ):
        command("segment", eye, "--masks", tmp_path / "masks", "--out", tmp_path / "none")
    assert not (tmp_path / "none").exists()


def test_the_diameter_of_the_field_of_view_is_taken(command, eye, fundus, small, tmp_path):
    command("segment", eye, "--weights", small, "--fov-diameter", 300, "--out", tmp_path / "out")
    trained = load_weights(small)
    fov = estimate_fov(fundus.image)
    expected = segment(fundus.image, trained, fov_diameter=300) * fov
    got = written(tmp_path / "out")["probability"] / 65535
    np.testing.assert_allclose(got, expected, atol=1e-4)
    assert np.abs(segment(fundus.image, trained) * fov - expected).max() > 0.1
    _, std = segment_monte_carlo(fundus.image, trained, 2, fov_diameter=300)
    assert not np.array_equal(std, segment_monte_carlo(fundus.image, trained, 2)[1])


def test_small_pieces_are_left_out_at_the_size_that_the_network_sees(command, eye, tmp_path):
    command("segment", eye, "--out", tmp_path / "all")
    command("segment", eye, "--out", tmp_path / "large", "--min-size", 200)
    every, large = (written(tmp_path / name)["vessels"] > 0 for name in ("all", "large"))
    scale = 535 / 230  # about
    assert 0 < large.sum() < every.sum()
    np.testing.assert_array_equal(large, without_specks(every, 200 / scale**2))
    assert not np.array_equal(large, without_specks(every, 200))


@pytest.mark.parametrize(
    ("pixels", "remarks"),
    [
        (np.full((10, 10, 3), 90, np.uint8), ["no retina found", "10 pixels wide, enlarged 54"]),
        (np.zeros((1, 1, 3), np.uint8), ["no retina found", "1 pixels wide, enlarged 535 times"]),
        (np.full((400, 400, 3), 255, np.uint8), ["no retina found"]),
        (synthesize(0).image[200:400, 200:400], ["no dark border found"]),
        (np.pad(synthesize(0).image, ((0, 700), (0, 700), (0, 0))), ["fills only 1"]),
    ],
    ids=["tiny", "one pixel", "white", "crop", "small disc"],
)
def test_what_is_odd_is_said_in_one_line_each(command, small, tmp_path, pixels, remarks):
    Image.fromarray(pixels).save(tmp_path / "odd.png")
    given = [tmp_path / "odd.png", "--weights", small, "--out", tmp_path / "out"]
    lines = command("segment", *given).splitlines()
    assert len(lines) == len(remarks) + 1
    for line, remark in zip(lines, remarks, strict=False):
        assert line.startswith(f"{tmp_path / 'odd.png'}: ")
        assert remark in line


def test_given_fields_of_view_are_not_remarked_on(command, small, tmp_path):
    Image.fromarray(synthesize(0).image[200:400, 200:400]).save(tmp_path / "odd.png")
    (tmp_path / "masks").mkdir()
    Image.new("1", (200, 200), 1).save(tmp_path / "masks" / "odd.png")
    given = ["--weights", small, "--masks", tmp_path / "masks"]
    out = command("segment", tmp_path / "odd.png", *given, "--out", tmp_path)
    assert len(out.splitlines()) == 1


def test_each_failure_begins_with_its_path(command, eye, tmp_path, monkeypatch):
    (tmp_path / "broken.png").write_bytes(b"no image")

    def fail(image, *_, **__):
        raise ValueError("No points given")

    with pytest.raises(SystemExit) as stop:
        command("segment", tmp_path / "broken.png", eye, "--out", tmp_path / "out")
    assert "1 of 2 images" in str(stop.value)
    monkeypatch.setattr("torchattn_blocks.retina.cohort.segmenter.seen_fundus", fail)
    with pytest.raises(SystemExit) as stop:
        command("segment", tmp_path / "broken.png", eye, "--out", tmp_path / "other")
    head, *lines = str(stop.value).splitlines()
    assert "2 of 2 images" in head
    assert [line.startswith(str(tmp_path)) for line in lines] == [True, True]
    assert lines[1] == f"{eye}: No points given"


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["nosuch.jpg"], r"images: nosuch\.jpg: this file does not exist"),
        (["*.jpg"], r"images: \*\.jpg: no file fits this pattern"),
        (["own"], r"own: this folder holds no image\. Did you mean own/images\?"),
        (["eye.png", "--out", "eye.png"], r"--out must be a folder, got eye\.png"),
        (["eye.png", "--min-size", "-1"], "--min-size must be at least 0, got -1"),
        (["eye.png", "--fov-diameter", "0"], r"--fov-diameter must be above 0 .*, got 0\.0"),
        (["eye.png", "--fov-diameter", "nan"], "--fov-diameter must be above 0 .*, got nan"),
        (["eye.png", "--masks", "nosuch"], "--masks must be a folder that exists, got nosuch"),
    ],
)
def test_what_is_wrong_is_said_before_any_work(
    command, eye, tmp_path, monkeypatch, arguments, message
):
    for kind in ("images", "labels"):
        (tmp_path / "own" / kind).mkdir(parents=True)
        Image.new("L", (9, 9)).save(tmp_path / "own" / kind / "1.png")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("torchattn_blocks.retina.weights.named_weights", None)  # not reached
    with pytest.raises(SystemExit, match=f"^error: {message}"):
        command("segment", *arguments)
    assert not (tmp_path / "runs").exists()


def test_specks_are_counted_with_diagonal_neighbours():
    vessels = np.zeros((9, 9), bool)
    vessels[range(5), range(5)] = vessels[7, 5:8] = True
    np.testing.assert_array_equal(without_specks(vessels, 3), vessels)
    assert without_specks(vessels, 4).sum() == 5
    assert not without_specks(vessels, 6).any()


def test_a_mask_is_of_its_own_image_alone(tmp_path):
    images = {stem: tmp_path / f"{stem}.jpg" for stem in ("pat3_img1", "a")}
    for name in ("pat3_img2_fov", "a.b", "pat3_img1-overlay"):
        Image.new("1", (9, 9)).save(tmp_path / f"{name}.png")
    assert find_masks(tmp_path, images) == {}
    for name in ("pat3_img1-fov", "a.mask"):
        Image.new("1", (9, 9)).save(tmp_path / f"{name}.png")
    found = find_masks(tmp_path, images)
    assert {stem: path.name for stem, path in found.items()} == {
        "pat3_img1": "pat3_img1-fov.png",
        "a": "a.mask.png",
    }
    Image.new("1", (9, 9)).save(tmp_path / "a_fov.png")
    with pytest.raises(ValueError, match=r"a\.mask\.png and .*a_fov\.png: both fit .*a\.jpg"):
        find_masks(tmp_path, images)


def test_the_fields_of_view_that_were_written_can_be_given_back(command, eye, small, tmp_path):
    given = ["segment", eye, "--weights", small]
    command(*given, "--out", tmp_path / "first")
    command(*given, "--masks", tmp_path / "first", "--out", tmp_path / "second")
    first, second = (written(tmp_path / name) for name in ("first", "second"))
    np.testing.assert_array_equal(first["probability"], second["probability"])


def test_a_diameter_at_which_nothing_is_seen_is_remarked_on(command, eye, tmp_path):
    out = command("segment", eye, "--fov-diameter", 20, "--out", tmp_path / "out")
    assert "eye.png: at 20 pixels, vessels are too narrow to see" in out
