"""The scale at which a network is most certain of the vessels."""

import json

import numpy as np
import pytest
import torch
from PIL import Image
from scipy.ndimage import distance_transform_edt
from test_other_layouts import make_stare
from torch import nn

from torchattn_blocks.retina import (
    Network,
    Settings,
    Trained,
    find_fov_diameter,
    fov_diameter,
    list_chase_db1,
    load_pretrained,
    load_weights,
    read_image,
    save_weights,
    synthesize,
)
from torchattn_blocks.retina.working_diameter import certainty, climb


def asked(measure, **how):
    """Where `climb` ends, and the places that it asked for."""
    seen = []

    def look(place):
        seen.append(place)
        return measure(place)

    return climb(look, **how), seen


@pytest.mark.parametrize(
    ("peak", "count"), [(0, 5), (1, 5), (-1, 5), (2, 6), (-2, 6), (3, 6), (-3, 6), (4, 5), (-4, 5)]
)
def test_a_single_peak_is_found_and_no_place_asked_twice(peak, count):
    found, seen = asked(lambda place: 10 - abs(place - peak))
    assert found == peak
    assert len(seen) == len({*seen}) == count
    assert {*seen} <= {*range(-4, 5)}


@pytest.mark.parametrize(("peak", "end"), [(-30, -3), (30, 2)])
def test_bounds_are_kept(peak, end):
    found, seen = asked(lambda place: 50 - abs(place - peak), low=-3, high=2, stay=0)
    assert found == end
    assert {*seen} <= {*range(-3, 3)}
    assert asked(lambda place: 50 - abs(place - peak), low=0, high=0) == (0, [0])


@pytest.mark.parametrize(
    ("gain", "how", "end"),
    [(0.5, {}, 0), (1, {}, 0), (1.04, {}, 0), (1.06, {}, 2), (1.06, {"stay": 0.1}, 0)],
)
@pytest.mark.parametrize("side", [-1, 1])
def test_the_start_is_left_only_for_enough(gain, how, end, side):
    values = {0: 10, 2 * side: 10 * gain}
    assert climb(lambda place: values.get(place, 1), **how) == end * side


def test_of_nothing_the_start_stays():
    assert climb(lambda place: 0.0, stay=0) == 0


def sharp(fundus, slope):
    """A map of the right vessels with borders so steep."""
    label = fundus.label
    distance = distance_transform_edt(label) - distance_transform_edt(~label)
    return (1 / (1 + np.exp(-slope * distance))).astype(np.float32)


@pytest.fixture(scope="module")
def eye():
    return synthesize(3, height=200, width=190)


def test_an_empty_map_is_not_certain_of_vessels(eye):
    assert certainty(np.zeros(eye.fov.shape, np.float32), eye.fov) == 0
    assert certainty(np.full(eye.fov.shape, 0.4, np.float32), eye.fov) == 0


def test_a_sharper_map_is_more_certain(eye):
    found = [certainty(sharp(eye, slope), eye.fov) for slope in (0.5, 1, 2, 4, 8)]
    assert found == sorted({*found})


def test_it_is_a_length_times_f1_if_calibrated():
    p = np.zeros((80, 140), np.float32)
    p[20:23, 20:120], p[60:63, 20:120] = 0.95, 0.6
    f1 = 2 * (0.95 + 0.6) / (2 + 0.95 + 0.6)  # of equal areas at .95 and .6
    assert certainty(p, np.full(p.shape, True)) == pytest.approx(100 / 535 * f1, rel=0.03)


def test_what_lies_outside_counts_nothing(eye):
    p = sharp(eye, 2)
    fov = eye.fov & (np.arange(190) > 90)
    expected = certainty(np.where(fov, p, 0), fov)
    p[:, :90:4] = 1
    assert certainty(p, fov) == expected > 0


class Sharpest(nn.Module):
    """Three lines in each dark image; the longer and clearer, the nearer it is to one height."""

    def __init__(self, height):
        super().__init__()
        self.slope, self.height = nn.Parameter(torch.tensor(12.0)), height

    def forward(self, x):
        away = np.log(x.shape[2] / self.height) / np.log(1.25)
        row, column = (torch.linspace(0, 1, side) for side in x.shape[2:])
        lines = -torch.cos(6 * torch.pi * row)[:, None] * torch.exp(-4.6 * column)
        lines = lines.expand(len(x), 1, -1, -1)
        return lines * self.slope * float(np.exp(-(away**2) / 4)) - 99 * (x.mean() > 0.5)


def sharpest_at(fundus, diameter, settings=90.0):
    height = fundus.fov.shape[0] * diameter / fov_diameter(fundus.fov)
    return Trained(Sharpest(height), Settings(Network(), settings))


@pytest.mark.parametrize("steps", [-4, -2, -1, 0, 1, 3])
def test_the_diameter_of_the_sharpest_map_is_found(eye, steps):
    diameter = 90 * 1.25**steps
    trained = sharpest_at(eye, diameter)
    assert find_fov_diameter(eye.image, trained) == pytest.approx(diameter)


def test_the_size_of_the_image_does_not_matter(eye):
    large = np.array(Image.fromarray(eye.image).resize((380, 400), Image.Resampling.BICUBIC))
    trained = sharpest_at(eye, 90 * 1.25**2)
    assert find_fov_diameter(large, trained) == find_fov_diameter(eye.image, trained)


def test_a_given_field_of_view_decides(eye):
    fov = eye.fov & (np.hypot(*np.ogrid[-100:100, -95:95]) < fov_diameter(eye.fov) / 4)
    trained = sharpest_at(eye, 90 * 1.25**3)  # of the whole: the same scale is half of it
    for given in (fov, fov.astype(np.uint8) * 255):
        found = find_fov_diameter(eye.image, trained, fov=given)
        assert found == pytest.approx(90)


def test_all_maps_are_compared_at_a_field_of_view_of_535_pixels(eye, monkeypatch):
    seen = []

    def measure(probability, fov):
        seen.append((probability.shape, fov.shape, fov_diameter(fov), fov.mean()))
        return 1.0

    monkeypatch.setattr("torchattn_blocks.retina.working_diameter.certainty", measure)
    find_fov_diameter(eye.image, sharpest_at(eye, 90), fov=eye.fov)
    side = 535 / fov_diameter(eye.fov)
    assert len(seen) == 5
    for shape, fov_shape, diameter, share in seen:
        assert shape == fov_shape == (round(200 * side), round(190 * side))
        assert diameter == pytest.approx(535, abs=3)
        assert share == pytest.approx(eye.fov.mean(), abs=0.01)


def test_without_vessels_the_diameter_is_that_of_the_training(eye):
    bright = np.full(eye.image.shape, 200, np.uint8)
    assert find_fov_diameter(bright, sharpest_at(eye, 200), fov=eye.fov) == 90


@pytest.mark.parametrize(
    ("error", "changed", "message"),
    [
        (TypeError, {"image": "eye.jpg"}, r"image must be an array.*Pass read_image"),
        (TypeError, {"image": np.zeros((9, 9, 3))}, "image must be an array of type uint8"),
        (ValueError, {"image": np.zeros((9, 9), np.uint8)}, "image must have shape"),
        (TypeError, {"trained": "drive"}, r"trained must be Trained.*load_pretrained\('drive'\)"),
        (ValueError, {"fov": np.ones((3, 4), bool)}, "fov must have the image's shape"),
        (ValueError, {"fov": np.zeros((200, 190), bool)}, "fov must have at least 1 True pixel"),
    ],
)
def test_what_is_wrong_is_said(eye, error, changed, message):
    arguments = {"image": eye.image, "trained": sharpest_at(eye, 90), **changed}
    with pytest.raises(error, match=f"^(find_)?fov_diameter: {message}"):
        find_fov_diameter(**arguments)


@pytest.fixture
def small(tmp_path):
    """The weights of a small network, at a diameter of 60 pixels, that is certain of vessels."""
    network = Network("backbone", widths=(4, 8))
    torch.manual_seed(1)
    model = network.build()
    with torch.no_grad():
        model.head.weight *= 200
    save_weights(tmp_path / "small.safetensors", model, Settings(network, 60))
    return tmp_path / "small.safetensors"


def test_segment_says_which_diameter_it_took(command, eye, small, tmp_path):
    Image.fromarray(eye.image).save(tmp_path / "eye.png")
    common = ["segment", tmp_path / "eye.png", "--weights", small, "--out"]
    out = command(*common, tmp_path / "auto", "--fov-diameter", "auto")
    found = find_fov_diameter(eye.image, load_weights(small))
    assert found != 60
    assert f"{tmp_path / 'eye.png'}: field of view resized to {found:.0f} pixels\n" in out
    assert "found to work with weights drive, not with chase_db1" in out
    said = command(*common, tmp_path / "given", "--fov-diameter", found)
    assert "resized to" not in said
    assert "found to work" not in said
    for kind in ("probability", "vessels"):
        auto, given = (tmp_path / folder / f"eye-{kind}.png" for folder in ("auto", "given"))
        assert auto.read_bytes() == given.read_bytes()


def test_evaluate_looks_at_each_image_and_writes_auto_down(command, small, tmp_path, monkeypatch):
    make_stare(tmp_path / "stare", packed=False, folders=False)
    seen = []

    def find(image, trained, *, fov):
        seen.append(image.shape[:2] == fov.shape)
        return 33.0

    name = "torchattn_blocks.retina.working_diameter.find_fov_diameter"
    monkeypatch.setattr(name, find)
    reports = []
    for diameter in ("auto", 33, 60):
        out = tmp_path / str(diameter)
        command("evaluate", "--data", tmp_path / "stare", "--dataset", "stare", "--no-pictures",
                "--part", "all", "--weights", small, "--out", out,
                "--fov-diameter", diameter)  # fmt: skip
        reports.append(json.loads((out / "report.json").read_text()))
    auto, same, other = reports
    assert auto["fov_diameter"] == "auto"
    assert auto["fov_diameters"] == dict.fromkeys(auto["images"], 33.0)
    assert "fov_diameters" not in same
    assert seen == [True] * 3
    assert auto["whole"] == same["whole"] != other["whole"]


def test_a_part_of_a_real_retina_is_scaled_as_the_whole(real_data):
    """The middle of an image of CHASE_DB1, half as wide as its field of view."""
    files = list_chase_db1(real_data / "CHASE_DB1")[0]
    image = np.ascontiguousarray(read_image(files.image)[250:710, 270:730])
    fov = np.hypot(*np.ogrid[-230:230, -230:230]) < 229
    image[~fov] = 0
    trained = load_pretrained("drive")
    found = find_fov_diameter(image, trained, fov=fov)
    assert found == pytest.approx(535 / 1.25**3)
