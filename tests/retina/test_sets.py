"""Trainings on several data sets, at one diameter of the field of view."""

import json
import re
from collections import Counter
from dataclasses import replace
from math import ceil
from types import MappingProxyType

import numpy as np
import pytest
import torch
from PIL import Image
from small_runs import FAST, SMALL_CROPS, drawn, equal, run, small_rsan

from torchattn_blocks.retina import (
    CAMERAS_RECIPE,
    Fundus,
    Recipe,
    fov_diameter,
    list_csv,
    load_weights,
    save_folder,
    train,
)
from torchattn_blocks.retina.commands._dataset import open_datasets
from torchattn_blocks.retina.commands._sets import padded, sizes_of
from torchattn_blocks.retina.training.examples import prepared
from torchattn_blocks.retina.training.order import Batches

SMALL = ["--widths", "4", "8", "--precision", "no"]


@pytest.fixture(scope="module")
def sites(tmp_path_factory):
    """Two folders of images: six of 64 x 72 and five of about twice the size."""
    root = tmp_path_factory.mktemp("sites")
    save_folder(root / "a", (drawn(seed, 64, 72) for seed in range(6)))
    save_folder(root / "b", (drawn(seed, 130, 140) for seed in range(10, 15)))
    return root


def of(name, seeds, height=64, width=72):
    return [replace(drawn(seed, height, width), dataset=name) for seed in seeds]


def test_two_folders_are_trained_on_together(command, sites, tmp_path):
    data = ["--data", sites / "a", sites / "b", "--dataset", "folder"]
    options = ["--epochs", 1, "--fov-diameter", 60, "--out", tmp_path]
    said = command("train", *data, *SMALL, *options)
    assert "a: 5 images, field of view 62 pixels wide, resized by 0.97\n" in said
    assert "b: 4 images, field of view 124 pixels wide, resized by 0.48\n" in said
    record = json.loads((tmp_path / "run.json").read_text())
    assert record["dataset"] == "a+b"
    assert {name.split("/")[0] for name in record["images"]["training"]} == {"a", "b"}
    settings = load_weights(tmp_path / "last.safetensors").settings
    assert settings.fov_diameter == 60
    assert settings.about["dataset"] == "a+b"
    # The padding fits the images as they are resized.
    assert record["recipe"]["side"] == settings.side == 72
    assert record["recipe"]["input_scale"] == 1


def test_layouts_are_one_for_all_or_one_for_each(sites):
    roots = [sites / "a", sites / "b"]
    for names in (["folder"], ["folder", "folder"]):
        _, split = open_datasets(names, roots)
        assert Counter(files.dataset for files in split.training) == {"a": 4, "b": 3}
        assert [files.name.split("/")[0] for files in split.validation] == ["a", "b"]
    with pytest.raises(ValueError, match="one for each of the 2 places of --data, got 3"):
        open_datasets(["folder"] * 3, roots)
    with pytest.raises(ValueError, match="--data must name at least 1 folder or CSV file"):
        open_datasets(["folder"], [])


def test_folds_leave_out_a_part_of_each_set(sites):
    _, whole = open_datasets(["folder"], [sites / "a", sites / "b"])
    parts = [open_datasets(["folder"], [sites / "a", sites / "b"], f"{n}/2")[1] for n in (1, 2)]
    scored = [{files.name for files in part.test} for part in parts]
    assert not scored[0] & scored[1]
    assert scored[0] | scored[1] == {f.name for f in (*whole.training, *whole.validation)}
    assert all({name[0] for name in names} == {"a", "b"} for names in scored)


def test_sets_of_one_name_are_told_apart(sites, tmp_path):
    (tmp_path / "a").symlink_to(sites / "b")
    _, split = open_datasets(["folder"], [sites / "a", tmp_path / "a"])
    assert {files.dataset for files in split.training} == {"a", "b"}  # where the link leads
    _, split = open_datasets(["folder"], [sites / "a", sites / "a"])
    assert {files.dataset for files in split.training} == {"a-1", "a-2"}


def test_a_csv_file_names_the_set_of_each_image(command, sites, tmp_path):
    rows = ["image,label,dataset"]
    for site in "ab":
        for path in sorted((sites / site / "images").iterdir()):
            rows.append(f"{path},{sites / site / 'labels' / path.name},{site}")
    table = tmp_path / "all.csv"
    table.write_text("\n".join(rows))
    assert Counter(files.dataset for files in list_csv(table)) == {"a": 6, "b": 5}
    assert list_csv(table)[0].read().dataset == "a"
    options = ["--steps", 1, "--batch-size", 2, "--shares", 1, 3, "--out", tmp_path / "out"]
    command("train", "--data", table, "--dataset", "csv", "--recipe", "crops", *SMALL, *options)
    settings = load_weights(tmp_path / "out" / "last.safetensors").settings
    assert settings.about["dataset"] == "a+b"
    assert settings.about["recipe"]["shares"] == {"a": 1.0, "b": 3.0}


@pytest.mark.parametrize("shares", [(1, 1), (3, 1), (0.1, 0.7, 0.2)])
@pytest.mark.parametrize("process", [0, 1])
def test_every_set_has_its_share_of_the_crops_so_far(shares, process):
    names = "abc"[: len(shares)]
    datasets = [name for name in names for _ in range(3 + 4 * (name == "a"))]
    recipe = replace(SMALL_CROPS, batch_size=4, shares=dict(zip(names, shares, strict=True)))
    order = Batches(len(datasets), recipe, 0, 100, process, 2, datasets)
    seen = [number for step in range(100) for number in order.of_step(step)]
    for crops in (7, 50, 400):
        counts = Counter(datasets[number] for number in seen[:crops])
        for name, share in zip(names, shares, strict=True):
            assert abs(counts[name] - crops * share / sum(shares)) <= 1
    # Within a set, each image once before any comes again.
    first = [number for number in seen if datasets[number] == "a"]
    assert sorted(first[:7]) == sorted(first[7:14]) == list(range(7))
    assert first[:7] != first[7:14]
    # Later steps do not depend on how many follow, nor on where a training was resumed.
    other = Batches(len(datasets), recipe, 40, 60, process, 2, datasets)
    assert [other.of_step(step) for step in range(40, 60)] == [
        order.of_step(step) for step in range(40, 60)
    ]
    assert [[n for _, _, n in batch] for batch in other] == [
        order.of_step(step)[process::2] for step in range(40, 60)
    ]


def test_a_training_with_shares_is_resumed_to_the_same_weights(tmp_path):
    images = [*of("a", range(3)), *of("b", range(3, 5)), *of("a", range(5, 6))]
    recipe = replace(SMALL_CROPS, shares={"b": 2.0, "a": 1.0})
    whole, _ = run(tmp_path / "whole", images, recipe)
    run(tmp_path / "part", images, recipe, max_time=1e-3)
    part, _ = run(tmp_path / "part", images, recipe, resume=True)
    assert equal(whole, part)


def test_shares_must_name_the_sets(tmp_path):
    images = [*of("a", range(3)), *of("b", range(3, 6))]
    recipe = replace(SMALL_CROPS, shares={"a": 1, "c": 1})
    with pytest.raises(ValueError, match=r"shares must name the data sets.*'a', 'b', got 'a', 'c'"):
        train(small_rsan(), images, images, recipe, tmp_path)


@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        ({"shares": {"a": 0}}, ValueError, r"shares\['a'\] must be above 0 and finite, got 0"),
        ({"shares": {"a": "x"}}, TypeError, r"shares\['a'\] must be a number, got 'x'"),
        ({"shares": [1, 2]}, TypeError, "shares must be a Mapping or None, got tuple"),
        ({"shares": {"a": 1}, "crops": None}, ValueError, "crops must be given with them"),
        ({"fov_diameter": 0}, ValueError, "fov_diameter must be above 0 and finite, got 0"),
        ({"shares": {}}, ValueError, "shares must name at least 1 data set, got none"),
        ({"fov_diameter": 9, "input_scale": 2}, ValueError, "either input_scale or fov_diameter"),
    ],
)
def test_what_a_recipe_refuses(options, error, message):
    with pytest.raises(error, match=f"Recipe: .*{message}"):
        replace(SMALL_CROPS, **options)


def test_shares_are_as_many_as_sets(command, sites, tmp_path):
    data = ["--data", sites / "a", sites / "b", "--dataset", "folder", "--recipe", "crops"]
    with pytest.raises(SystemExit, match="--shares must have a number for each of a, b, got 3"):
        command("train", *data, "--shares", 1, 2, 3, "--out", tmp_path)


def test_shares_are_kept_as_plain_data():
    given = {"a": 1.0}
    recipe = replace(SMALL_CROPS, shares=MappingProxyType(given))
    assert recipe == replace(SMALL_CROPS, shares=given)
    assert hash(recipe) == hash(replace(SMALL_CROPS, shares=given))
    given["b"] = 2.0
    assert recipe.as_data()["shares"] == {"a": 1.0}


def test_a_set_that_only_validates_needs_no_share(command, sites, tmp_path):
    """And shares are printed, in the order in which they were taken."""
    rows = ["image,label,dataset"]
    for number, path in enumerate(sorted((sites / "a" / "images").iterdir())):
        part = "validation" if number == 5 else "test" if number == 4 else "training"
        link = tmp_path / part / path.name
        link.parent.mkdir(exist_ok=True)
        link.symlink_to(path)
        name = "c" if number == 5 else "a" if number < 2 else "b"
        rows.append(f"{part}/{path.name},{sites / 'a' / 'labels' / path.name},{name}")
    (tmp_path / "all.csv").write_text("\n".join(rows))
    options = ["--steps", 1, "--batch-size", 2, "--shares", 1, 3, "--out", tmp_path / "out"]
    data = ["--data", tmp_path / "all.csv", "--dataset", "csv", "--recipe", "crops"]
    said = command("train", *data, *SMALL, *options)
    assert re.search(r"^a: 2 images, .*, share 1 of the crops$", said, re.M)
    assert re.search(r"^b: 2 images, .*, share 3 of the crops$", said, re.M)
    assert re.search(r"^c: 1 images, .* not resized$", said, re.M)


def test_whole_images_that_get_one_size_need_no_padding(tmp_path):
    """Of one size only when resized; and of one size before, but not after."""
    small = drawn(0, 64, 64)
    large = Fundus("large", *(np.kron(one, np.ones((2, 2, 1)[: one.ndim], one.dtype))
                              for one in (small.image, small.label, small.fov)))  # fmt: skip
    recipe = replace(FAST, epochs=1, fov_diameter=fov_diameter(small.fov))
    assert fov_diameter(large.fov) / fov_diameter(small.fov) == pytest.approx(2, rel=0.01)
    train(small_rsan(), [small, large], [small], recipe, tmp_path / "a")
    inner = np.zeros((64, 64), bool)
    inner[12:52, 12:52] = True
    other = replace(small, name="other", fov=small.fov & inner)
    with pytest.raises(ValueError, match="must have the same size, resized, got"):
        train(small_rsan(), [small, other], [small], recipe, tmp_path / "b")


def test_images_are_resized_to_one_diameter():
    recipe = replace(FAST, fov_diameter=90.0)
    for fundus in (drawn(0, 64, 72), drawn(1, 130, 140)):
        scale = 90 / fov_diameter(fundus.fov)
        sample = prepared(fundus, recipe)
        size = [round(side * scale) for side in fundus.fov.shape]
        assert [tuple(sample[name].shape) for name in ("image", "label", "fov")] == [
            (3, *size),
            (1, *size),
            (1, *size),
        ]
        assert fov_diameter(sample["fov"][0].numpy() > 0) == pytest.approx(90, abs=1.5)


def test_images_of_about_the_diameter_are_not_resized():
    fundus = drawn(1, 130, 140)
    near = replace(FAST, fov_diameter=fov_diameter(fundus.fov) * 1.02)
    sample = prepared(fundus, near)
    assert all(sample[name].shape[1:] == fundus.fov.shape for name in sample)
    assert torch.equal(sample["label"][0], torch.from_numpy(fundus.label).float())


def test_segment_takes_the_diameter_of_the_training(command, sites, tmp_path):
    """A photograph of either camera goes through the network at the size of the training."""
    data = ["--data", sites / "a", sites / "b", "--dataset", "folder", "--recipe", "crops"]
    options = [*SMALL, "--steps", 1, "--batch-size", 1, "--fov-diameter", 62]
    command("train", *data, *options, "--out", tmp_path / "run")
    weights = tmp_path / "run" / "last.safetensors"
    path = sites / "b" / "images" / "synthetic-0012.png"
    command("segment", path, "--weights", weights, "--out", tmp_path / "maps")
    sizes = []
    for file in (path, tmp_path / "maps" / f"{path.stem}-probability.png"):
        with Image.open(file) as picture:
            sizes.append(picture.size)
    assert sizes[0] == sizes[1]


def test_what_is_said_of_the_sizes():
    images = [*of("a", range(2)), *of("b", range(2), 130, 140)]
    plain, _, hint = sizes_of(images, FAST)
    assert plain.endswith("pixels wide, not resized")
    assert "--fov-diameter 62 resizes all images to one diameter" in hint
    halved = [*sizes_of(images[:2], Recipe(input_scale=0.5))]
    assert len(halved) == 1
    assert halved[0].endswith("resized by 0.50")
    assert len([*sizes_of(images, Recipe(fov_diameter=60.0))]) == 2


def test_the_recipe_for_cameras_reaches_the_training(command, sites, tmp_path):
    data = ["--data", sites / "a", "--dataset", "folder", "--recipe", "cameras"]
    command("train", *data, *SMALL, "--steps", 1, "--batch-size", 2, "--out", tmp_path)
    recipe = load_weights(tmp_path / "last.safetensors").settings.about["recipe"]
    assert recipe["crops"]["zoom"] == [0.5, 2.0]
    assert Recipe.from_data(recipe) == replace(
        CAMERAS_RECIPE, steps=1, batch_size=2, precision="no"
    )


def test_padding_fits_images_that_are_enlarged(sites):
    images = of("a", range(2))
    base = Recipe(side=72)
    assert padded(base, 72, images).side == 72
    assert padded(replace(base, input_scale=0.5), 72, images).side == 40
    larger = padded(replace(base, fov_diameter=120.0), 72, images).side
    longest = max(ceil(max(fundus.fov.shape) * 120 / fov_diameter(fundus.fov)) for fundus in images)
    assert longest <= larger <= longest + 8
    assert larger % 8 == 0
    assert padded(base, 144, of("b", [3], 130, 140)).side == 144  # of --config on larger images
    assert padded(replace(base, side=400), 72, images).side == 72  # and on smaller ones
    assert padded(Recipe(), None, images).side is None
