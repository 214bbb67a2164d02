"""Image files of other depths, orientations and kinds."""

import struct
import zlib

import numpy as np
import pytest
import tifffile
from PIL import Image

from torchattn_blocks.retina import Fundus, FundusFiles, read_image
from torchattn_blocks.retina.data.predictions import read_prediction, save_prediction

RAMP = np.linspace(0, 65535, 12 * 16).astype(np.uint16).reshape(12, 16)
COLOURS = np.stack([RAMP, RAMP[::-1], RAMP[:, ::-1]], -1)


def save_png(path, values):
    """A PNG of 16 bits per channel, which Pillow cannot write in colour."""

    def chunk(kind, data):
        return (
            struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))
        )

    height, width = values.shape[:2]
    header = struct.pack(">IIBBBBB", width, height, 16, 2 if values.ndim == 3 else 0, 0, 0, 0)
    rows = b"".join(b"\0" + row.astype(">u2").tobytes() for row in values)
    body = chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(rows)) + chunk(b"IEND", b"")
    path.write_bytes(b"\x89PNG\r\n\x1a\n" + body)


def read(path, label=None):
    return FundusFiles("x", path, label, fov=None, second_label=None).read()


@pytest.mark.parametrize("values", [RAMP, COLOURS], ids=["grey", "colour"])
@pytest.mark.parametrize("ending", ["png", "tif"])
def test_16_bits_are_scaled_to_8(tmp_path, ending, values):
    path = tmp_path / f"x.{ending}"
    (save_png if ending == "png" else tifffile.imwrite)(path, values)
    expected = values if values.ndim == 3 else np.stack([values] * 3, -1)
    assert np.abs(read(path).image - expected / 257).max() < 1


@pytest.mark.parametrize("values", [RAMP // 16, COLOURS // 16], ids=["grey", "colour"])
@pytest.mark.parametrize("ending", ["png", "tif"])
def test_12_bits_in_16_are_refused_and_not_read_as_black(tmp_path, ending, values):
    path = tmp_path / f"x.{ending}"
    (save_png if ending == "png" else tifffile.imwrite)(path, values)
    with pytest.raises(ValueError, match=rf"x\.{ending}: .*16 bits per channel.*Save it with 8"):
        read(path)


def test_transparency_does_not_hide_that_colours_are_dark(tmp_path):
    values = np.concatenate([COLOURS // 16, np.full((12, 16, 1), 65535, np.uint16)], -1)
    tifffile.imwrite(tmp_path / "x.tif", values, photometric="rgb", extrasamples=["unassalpha"])
    with pytest.raises(ValueError, match="16 bits per channel"):
        read(tmp_path / "x.tif")


def test_ppm_of_16_bits(tmp_path):
    for name, values, kind in (("x.ppm", COLOURS, "P6"), ("x.pgm", RAMP, "P5")):
        path = tmp_path / name
        for scale, right in ((1, True), (16, False)):
            body = (values // scale).astype(">u2").tobytes()
            path.write_bytes(f"{kind} 16 12 65535\n".encode() + body)
            if right:
                expected = values if values.ndim == 3 else np.stack([values] * 3, -1)
                assert np.abs(read(path).image - expected / 257).max() <= 1
            else:
                with pytest.raises(ValueError, match="16 bits per channel"):
                    read(path)


@pytest.mark.parametrize("dtype", [np.int32, np.float32])
def test_32_bits_are_refused(tmp_path, dtype):
    tifffile.imwrite(tmp_path / "x.tif", RAMP.astype(dtype))
    with pytest.raises(ValueError, match=r"x\.tif: .*32 bits per channel.*Save it with 8"):
        read(tmp_path / "x.tif")


@pytest.mark.parametrize("orientation", range(1, 9))
def test_an_image_and_its_label_are_turned_upright(tmp_path, orientation):
    upright = np.zeros((12, 16, 3), np.uint8)
    upright[1:, 1:] = 200
    upright[2:4, 3:8] = 255
    turned = {  # how a camera of this orientation stores it
        1: upright,
        2: upright[:, ::-1],
        3: upright[::-1, ::-1],
        4: upright[::-1],
        5: upright.swapaxes(0, 1),
        6: np.rot90(upright, 1),
        7: upright[::-1, ::-1].swapaxes(0, 1),
        8: np.rot90(upright, -1),
    }[orientation]
    exif = Image.Exif()
    exif[0x0112] = orientation
    Image.fromarray(np.ascontiguousarray(turned)).save(tmp_path / "x.png", exif=exif)
    Image.fromarray(upright[..., 0] // 255 * 255).save(tmp_path / "label.png")
    fundus = read(tmp_path / "x.png", tmp_path / "label.png")
    np.testing.assert_array_equal(fundus.image, upright)
    np.testing.assert_array_equal(fundus.label, upright[..., 0] == 255)


VESSELS = np.zeros((12, 16), np.uint8)
VESSELS[5:7] = 255


def transparent():
    pixels = np.zeros((12, 16, 4), np.uint8)
    pixels[..., 3] = VESSELS
    return pixels


def test_a_mask_whose_background_is_transparent_is_a_mask(tmp_path):
    Image.new("RGB", (16, 12), "orange").save(tmp_path / "x.png")
    pixels = np.stack([VESSELS] * 4, -1)  # white and opaque, or black and transparent
    Image.fromarray(pixels).save(tmp_path / "label.png")
    label = read(tmp_path / "x.png", tmp_path / "label.png").label
    np.testing.assert_array_equal(label, VESSELS > 0)


def arteries_and_veins():
    pixels = np.zeros((12, 16, 3), np.uint8)
    pixels[5, :, 0] = pixels[6, :, 2] = 255
    pixels[7, :, 1] = 255
    return pixels


def resized():
    return np.array(Image.fromarray(VESSELS).resize((160, 120), Image.Resampling.BICUBIC))


@pytest.mark.parametrize(
    ("pixels", "advice"),
    [
        (transparent(), "transparent pixels: save it without an alpha channel"),
        (arteries_and_veins(), "in colour: save it in black and white"),
        (resized(), "grey edges, from resizing or JPEG"),
        (VESSELS // 255 * 100, r"It holds the values \[0, 100\]: set the marked ones to 255"),
        ((RAMP >> 8).astype(np.uint8), "seems to be an image"),
    ],
    ids=["transparent", "colour", "grey edges", "a class", "image"],
)
def test_what_is_no_mask_gets_advice_by_what_it_is(tmp_path, pixels, advice):
    height, width = pixels.shape[:2]
    Image.new("RGB", (width, height), "orange").save(tmp_path / "x.png")
    Image.fromarray(pixels).save(tmp_path / "label.png")
    with pytest.raises(ValueError, match=f"label.png: not a binary mask.*{advice}"):
        read(tmp_path / "x.png", tmp_path / "label.png")


@pytest.mark.parametrize("compression", [None, "zlib"])
@pytest.mark.parametrize("channels", [3, 4])
@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
def test_channels_stored_one_after_the_other(tmp_path, compression, channels, dtype):
    """Pillow 13.0 reads such files of 16 bits, without compression, as noise."""
    values = np.concatenate([COLOURS, COLOURS[..., :1]], -1)[..., :channels]
    values = values >> 8 if dtype == np.uint8 else values
    tifffile.imwrite(
        tmp_path / "x.tif",
        np.moveaxis(values.astype(dtype), -1, 0),
        photometric="rgb",
        planarconfig="separate",
        compression=compression,
        extrasamples=["unassalpha"] if channels == 4 else None,
    )
    np.testing.assert_array_equal(read_image(tmp_path / "x.tif"), COLOURS >> 8)


def test_channels_one_after_the_other_are_turned_upright_and_must_be_bright(tmp_path):
    planes = np.moveaxis(COLOURS, -1, 0)
    options = {"photometric": "rgb", "planarconfig": "separate"}
    tag = (0x0112, "H", 1, 6, True)  # turned by a right angle
    tifffile.imwrite(tmp_path / "x.tif", planes, extratags=[tag], **options)
    np.testing.assert_array_equal(read_image(tmp_path / "x.tif"), np.rot90(COLOURS >> 8, -1))
    tifffile.imwrite(tmp_path / "x.tif", planes // 16, **options)
    with pytest.raises(ValueError, match="16 bits per channel"):
        read_image(tmp_path / "x.tif")


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
def test_where_0_is_white_values_are_inverted(tmp_path, dtype):
    path, white = tmp_path / "label.tif", np.iinfo(dtype).max
    inked = np.where(VESSELS > 0, 0, white).astype(dtype)  # printed white on paper that is 0
    tifffile.imwrite(path, inked, photometric="miniswhite")
    Image.new("RGB", (16, 12), "orange").save(tmp_path / "x.png")
    label = read(tmp_path / "x.png", path).label
    np.testing.assert_array_equal(label, VESSELS > 0)
    found = {"x": [path]}
    fundus = Fundus("x", np.zeros((12, 16, 3), np.uint8), None, VESSELS > 0)
    np.testing.assert_array_equal(read_prediction(tmp_path, found, fundus), VESSELS > 0)
    grey = (RAMP >> 8).astype(dtype) * np.array(white // 255, dtype)
    tifffile.imwrite(tmp_path / "grey.tif", white - grey, photometric="miniswhite")
    assert np.abs(read_image(tmp_path / "grey.tif")[..., 0] - (RAMP >> 8).astype(int)).max() <= 1


def test_probabilities_of_which_0_is_white(tmp_path):
    values = np.linspace(0, 1, 12 * 16, dtype=np.float32).reshape(12, 16)
    tifffile.imwrite(tmp_path / "x.tif", 1 - values, photometric="miniswhite")
    fundus = Fundus("x", np.zeros((12, 16, 3), np.uint8), None, VESSELS > 0)
    read_back = read_prediction(tmp_path, {"x": [tmp_path / "x.tif"]}, fundus)
    np.testing.assert_allclose(read_back, values, atol=1e-6)


@pytest.mark.parametrize("white", [4095, 1023, 40000])
def test_pgm_of_12_bits_says_which_value_is_white(tmp_path, white):
    values = (RAMP.astype(int) * white // 65535).astype(">u2")
    (tmp_path / "x.pgm").write_bytes(f"P5 16 12 {white}\n".encode() + values.tobytes())
    expected = values.astype(float) * 255 / white
    assert np.abs(read_image(tmp_path / "x.pgm")[..., 0] - expected).max() <= 1


@pytest.mark.parametrize("name", ["eye.dcm", "eye.png"])
def test_dicom_gets_advice(tmp_path, name):
    (tmp_path / name).write_bytes(bytes(128) + b"DICM" + bytes(300))
    with pytest.raises(ValueError, match=rf"{name}: DICOM is not read: export it as PNG or TIFF"):
        read_image(tmp_path / name)


def test_numbers_of_classes_are_a_mask(tmp_path):
    Image.new("RGB", (16, 12), "orange").save(tmp_path / "x.png")
    Image.fromarray(VESSELS // 255).save(tmp_path / "label.png")
    np.testing.assert_array_equal(
        read(tmp_path / "x.png", tmp_path / "label.png").label, VESSELS > 0
    )


def test_a_missing_image_is_named(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"nosuch\.jpg: this file does not exist"):
        read_image(tmp_path / "nosuch.jpg")


def test_maps_of_16_bits_say_how_to_read_them(tmp_path):
    probability = np.linspace(0, 1, 12 * 16, dtype=np.float32).reshape(12, 16)
    save_prediction(tmp_path / "x-probability.png", probability)
    with Image.open(tmp_path / "x-probability.png") as image:
        assert "np.asarray(Image.open(path)) / 65535" in image.text["Description"]
        np.testing.assert_allclose(np.asarray(image) / 65535, probability, atol=1e-5)
        clipped = np.asarray(image.convert("L"))
    assert (clipped > 127).mean() > 0.9  # Pillow's, against which the text warns


@pytest.mark.parametrize("planes", ["contig", "separate"])
def test_16_bits_in_other_colours_are_refused(tmp_path, planes):
    inks = np.concatenate([COLOURS, COLOURS[..., :1]], -1)
    stored = inks if planes == "contig" else np.moveaxis(inks, -1, 0)
    tifffile.imwrite(tmp_path / "x.tif", stored, photometric="separated", planarconfig=planes)
    with pytest.raises(ValueError, match=r"x\.tif: .*neither grey nor RGB"):
        read_image(tmp_path / "x.tif")


def test_pages_are_refused_unless_they_are_smaller_copies(tmp_path):
    page, path = (COLOURS >> 8).astype(np.uint8), tmp_path / "x.tif"
    for others, message in (
        ([page], "2 pages"),
        ([page.repeat(2, 0)], "2 pages"),
        ([page[::2]], ""),
    ):
        with tifffile.TiffWriter(path) as file:
            for one in (page, *others):
                file.write(one, photometric="rgb")
        if message:
            with pytest.raises(ValueError, match=message):
                read_image(path)
        else:
            np.testing.assert_array_equal(read_image(path), page)


def test_a_folder_and_an_unknown_kind_of_file_get_a_message(tmp_path):
    (tmp_path / "x.png").mkdir()
    with pytest.raises(IsADirectoryError, match=r"x\.png: this is a folder"):
        read_image(tmp_path / "x.png")
    tifffile.imwrite(tmp_path / "y.tif", RAMP.astype(np.float64))
    with pytest.raises(
        ValueError, match=r"y\.tif: cannot be decoded .* Save it as PNG with 8 bits"
    ):
        read_image(tmp_path / "y.tif")
