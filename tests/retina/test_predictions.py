"""Probability maps of other programs, found and read."""

from pathlib import Path

import numpy as np
import pytest
import tifffile
from PIL import Image

from torchattn_blocks.retina import Fundus, FundusFiles
from torchattn_blocks.retina.data.predictions import find_predictions, read_prediction

PROBABILITY = np.linspace(0, 1, 12 * 16).reshape(12, 16)


def read(folder, name="01", stem="01_test", others=()):
    """The map of an image, beside other images of these names."""
    files = [
        FundusFiles(one, Path(f"images/{file}.tif"), None, None, None)
        for one, file in [(name, stem), *((other, other) for other in others)]
    ]
    fundus = Fundus(name, np.zeros((12, 16, 3), np.uint8), None, np.ones((12, 16), bool))
    return read_prediction(folder, find_predictions(folder, files), fundus)


def grey(values):
    return Image.fromarray(values)


WRITERS = {
    "8 bits": ("png", lambda path: grey((PROBABILITY * 255).round().astype(np.uint8)).save(path)),
    "16 bits": ("png", lambda p: grey((PROBABILITY * 65535).round().astype(np.uint16)).save(p)),
    "grey as RGB": (
        "png",
        lambda p: grey((PROBABILITY * 255).round().astype(np.uint8)).convert("RGB").save(p),
    ),
    "float TIFF": ("tif", lambda path: tifffile.imwrite(path, PROBABILITY.astype(np.float32))),
    "npy": ("npy", lambda path: np.save(path, PROBABILITY)),
}


@pytest.mark.parametrize("kind", WRITERS)
def test_kinds_of_files(tmp_path, kind):
    ending, write = WRITERS[kind]
    write(tmp_path / f"01.{ending}")
    probability = read(tmp_path)
    assert probability.dtype == np.float32
    np.testing.assert_allclose(probability, PROBABILITY, atol=0.002)


@pytest.mark.parametrize(
    "names",
    [
        ["01.png"],
        ["01_test.png"],
        ["01_PROB.PNG"],
        ["01_test-probability.png", "01_test-vessels.png", "01_test-overlay.png"],
        ["01.png", "01_other.png", "011.png"],
        ["01_test_out.png", "02_test_out.png", "notes 01.txt"],
        ["01_PROB.png", "01_mask.png"],
    ],
)
def test_names_of_files(tmp_path, names):
    for i, name in enumerate(names):
        Image.fromarray(np.full((12, 16), 255 - i, np.uint8)).save(tmp_path / name, "PNG")
    assert (read(tmp_path) == 1).all()  # the first


@pytest.mark.parametrize("scale", [1, 255])
def test_values_that_do_not_use_their_range_are_refused(tmp_path, scale):
    # Zeros and ones in 8 bits, or 8 bits in 16: all would be close to a probability of 0.
    values = (PROBABILITY * scale).round().astype(np.uint8 if scale == 1 else np.uint16)
    Image.fromarray(values).save(tmp_path / "01.png")
    with pytest.raises(ValueError, match=rf"01\.png: its brightest value is {scale}, but a prob"):
        read(tmp_path)


def test_an_axis_of_one_is_left_out(tmp_path):
    np.save(tmp_path / "01.npy", PROBABILITY[None])
    assert read(tmp_path).shape == (12, 16)


def test_a_map_belongs_to_the_longest_name(tmp_path):
    np.save(tmp_path / "eye_2.npy", PROBABILITY)
    with pytest.raises(FileNotFoundError, match=r"map of image eye, .* got none"):
        read(tmp_path, "eye", "eye", others=["eye_2"])
    np.save(tmp_path / "eye_prob.npy", PROBABILITY / 2)
    assert read(tmp_path, "eye", "eye", others=["eye_2"]).max() == 0.5
    assert read(tmp_path, "eye_2", "eye_2", others=["eye"]).max() == 1


def test_a_name_with_folders(tmp_path):
    (tmp_path / "test").mkdir()
    np.save(tmp_path / "test" / "07.npy", PROBABILITY)
    assert read(tmp_path, "test/07", "07").shape == (12, 16)
    np.save(tmp_path / "08.npy", PROBABILITY)
    assert read(tmp_path, "val/08", "08").shape == (12, 16)


@pytest.mark.parametrize(
    ("error", "file", "values", "message"),
    [
        (FileNotFoundError, "02.npy", PROBABILITY, "1 probability map of image 01.* got none"),
        (ValueError, "01.npy", PROBABILITY[1:], r"01.npy: must have .* \(12, 16\), got \(11, 16\)"),
        (ValueError, "01.npy", PROBABILITY * 2, r"01.npy: .* lie in \[0, 1\], .* from 0.0 to 2.0"),
        (ValueError, "01.npy", PROBABILITY * np.nan, r"01.npy: .* lie in \[0, 1\]"),
        (ValueError, "01.npy", np.array([None]), "01.npy: not an array of NumPy"),
        (ValueError, "01.npy", np.array(["a"]), "01.npy: not an array of real numbers"),
    ],
)
def test_what_is_no_probability_map_is_refused(tmp_path, error, file, values, message):
    np.save(tmp_path / file, values)
    with pytest.raises(error, match=message):
        read(tmp_path)


def test_colour_and_ambiguity_are_refused(tmp_path):
    Image.new("RGB", (16, 12), "red").save(tmp_path / "01.png")
    with pytest.raises(ValueError, match=r"01\.png: it is in colour, not a probability map"):
        read(tmp_path)
    (tmp_path / "01.png").unlink()
    for name in ("01_a.npy", "01_b.npy"):
        np.save(tmp_path / name, PROBABILITY)
    with pytest.raises(FileNotFoundError, match=r"got 01_a\.npy, 01_b\.npy"):
        read(tmp_path)
    with pytest.raises(FileNotFoundError, match="nowhere: this folder does not exist"):
        read(tmp_path / "nowhere")
