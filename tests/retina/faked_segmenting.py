"""Segmenting that writes tiny files at once, for tests of what is around it."""

import numpy as np

from torchattn_blocks.retina.cohort.segmenter import Segmented, state_of
from torchattn_blocks.retina.write import write_png


def written(options, image):
    """Write the files of an image as `segment` names them."""
    for file in options.outputs.of(image.name):
        file.parent.mkdir(parents=True, exist_ok=True)
        write_png(file, np.zeros((1, 1), np.uint8))


def fake_segmenting(monkeypatch):
    """Let the command `segment` write tiny files; what it segments is listed."""
    seen = []

    def segment_images(options, number, images):
        return [one(options, image) for image in images]

    def one(options, image):
        seen.append(image)
        if not image.path.is_file():
            return Segmented(image, error=f"{image.path}: no such file")
        written(options, image)
        return Segmented(image, made_of=state_of(image))

    module = "torchattn_blocks.retina.cohort.segmenter"
    monkeypatch.setattr(f"{module}.segment_images", segment_images)
    monkeypatch.setattr(f"{module}.segmenter", lambda *_: None)
    return seen
