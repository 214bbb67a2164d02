"""Images continued beyond their frame, where it cuts the retina."""

import numpy as np

from torchattn_blocks.retina import estimate_fov, load_pretrained, segment, synthesize
from torchattn_blocks.retina.data.beyond import continued


def test_nothing_changes_where_the_frame_cuts_nothing():
    fundus = synthesize(0, height=200, width=190)
    fov = fundus.fov.copy()
    fov[[0, -1]] = fov[:, [0, -1]] = False
    larger, inner = continued(fundus.image, fov)
    np.testing.assert_array_equal(larger, fundus.image)
    assert inner == (slice(0, 200), slice(0, 190))


def test_a_cut_disc_is_completed_and_dark_around():
    whole = synthesize(0, height=300, width=300)
    cut = np.s_[40:-40, :]
    larger, inner = continued(np.ascontiguousarray(whole.image[cut]), whole.fov[cut])
    assert larger.shape == (300 - 80 + 64, 300, 3)
    np.testing.assert_array_equal(larger[inner], whole.image[cut])
    seen = larger.max(2) > 60
    # Rows 8 to 40 of the whole disc, up to a pixel of its rim.
    assert (seen != whole.fov[8:-8])[:32].mean() < 0.02
    np.testing.assert_array_equal(larger[31, 100:200], larger[32, 100:200])  # mirrored


def test_without_a_disc_the_image_is_mirrored():
    image = synthesize(0).image[200:300, 200:320]
    larger, inner = continued(image, np.ones((100, 120), bool))
    np.testing.assert_array_equal(
        larger, np.pad(image, ((32, 32), (32, 32), (0, 0)), mode="symmetric")
    )
    np.testing.assert_array_equal(larger[inner], image)


def errors_at_the_frame(fundus, cut, monkeypatch, *, off):
    """False vessels and missed ones within six pixels of the frame."""
    if off:
        everything = slice(None), slice(None)
        monkeypatch.setattr(
            "torchattn_blocks.retina.predict.continued", lambda image, fov: (image, everything)
        )
    image, label = np.ascontiguousarray(fundus.image[cut]), fundus.label[cut]
    vessels = segment(image, load_pretrained("drive"), fov=estimate_fov(image)) > 0.5
    frame = np.ones_like(label)
    frame[6:-6, 6:-6] = False
    frame &= fundus.fov[cut]
    return (vessels & ~label & frame).sum(), (~vessels & label & frame).sum()


def test_an_image_cut_tightly_to_its_disc_has_fewer_false_vessels(monkeypatch):
    fundus = synthesize(1)
    rows, columns = (np.flatnonzero(fundus.fov.any(axis=axis)) for axis in (1, 0))
    cut = np.s_[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1]
    false, _ = errors_at_the_frame(fundus, cut, monkeypatch, off=False)
    before, _ = errors_at_the_frame(fundus, cut, monkeypatch, off=True)
    assert before > 50
    assert false < 0.5 * before


def test_an_image_with_flat_cuts_has_fewer_errors(monkeypatch):
    cut = np.s_[62:-62, :]
    images = [synthesize(seed) for seed in (0, 4)]
    after = sum(sum(errors_at_the_frame(f, cut, monkeypatch, off=False)) for f in images)
    before = sum(sum(errors_at_the_frame(f, cut, monkeypatch, off=True)) for f in images)
    assert after < 0.85 * before
