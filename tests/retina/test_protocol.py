"""The paper's splits."""

from pathlib import Path

import pytest

from torchattn_blocks.retina import (
    CHASE_DB1_PROTOCOL,
    DRIVE_PROTOCOL,
    FundusFiles,
    Split,
    cross_validation,
    list_chase_db1,
    list_drive,
)


def files(*names):
    return [FundusFiles(name, Path(name), None, None, None) for name in names]


def names(part):
    return [file.name for file in part]


def test_drive():
    split = DRIVE_PROTOCOL.split(files(*[f"{n:02d}" for n in range(1, 41)]))
    assert names(split.validation) == ["23", "40"]
    assert names(split.test) == [f"{n:02d}" for n in range(1, 21)]
    assert names(split.training) == [f"{n}" for n in range(21, 40) if n != 23]


def test_chase_db1():
    split = CHASE_DB1_PROTOCOL.split(
        files(*[f"{n:02d}{eye}" for n in range(1, 15) for eye in "LR"])
    )
    assert names(split.validation) == ["09R", "10L"]
    assert names(split.test) == ["11L", "11R", "12L", "12R", "13L", "13R", "14L", "14R"]
    assert len(split.training) == 18
    assert {"09L", "10R"} < set(names(split.training))


def test_paper_figures():
    assert (
        DRIVE_PROTOCOL.recipe.side,
        DRIVE_PROTOCOL.p,
        DRIVE_PROTOCOL.recipe.batch_size,
        DRIVE_PROTOCOL.recipe.epochs,
    ) == (
        592,
        0.15,
        2,
        200,
    )
    assert (CHASE_DB1_PROTOCOL.recipe.side, CHASE_DB1_PROTOCOL.p) == (1008, 0.22)
    assert (CHASE_DB1_PROTOCOL.recipe.batch_size, CHASE_DB1_PROTOCOL.recipe.epochs) == (1, 150)


@pytest.mark.parametrize(
    ("given", "message"),
    [
        (files(*[f"{n:02d}" for n in range(2, 41)]), "files lacks 01; it has 02, 03"),
        (files("23", "40", *DRIVE_PROTOCOL.test), "files lacks images to train on"),
        ([], "it has none"),
    ],
)
def test_incomplete_sets(given, message):
    with pytest.raises(ValueError, match=message):
        DRIVE_PROTOCOL.split(given)


def test_real_sets_split(real_data):
    root = real_data / "DRIVE"
    assert [
        len(part)
        for part in DRIVE_PROTOCOL.split(list_drive(root, "training") + list_drive(root, "test"))
    ] == [
        18,
        2,
        20,
    ]
    assert [
        len(part) for part in CHASE_DB1_PROTOCOL.split(list_chase_db1(real_data / "CHASE_DB1"))
    ] == [18, 2, 8]


def test_cross_validation_deals_patients_out_and_leaves_the_test_images_out():
    names = [f"{n:02d}{eye}" for n in range(1, 15) for eye in "LR"]
    split = CHASE_DB1_PROTOCOL.split(files(*names))
    everything = {file.name for file in (*split.training, *split.validation)}
    scored = []
    for fold in range(1, 6):
        parts = cross_validation(split, fold, 5)
        names = [{file.name for file in part} for part in parts]
        assert set.union(*names) == everything
        assert sum(map(len, names)) == len(everything) == 20
        patients = [{name[:2] for name in part} for part in names]
        assert len(set.union(*patients)) == sum(map(len, patients)) == 10
        assert len(names[1]) == len(parts[1]) == 2
        scored += sorted(names[2])
    assert sorted(scored) == sorted(everything)


@pytest.mark.parametrize(
    ("fold", "folds", "message"),
    [
        (1, 1, "folds must be at least 2, got 1"),
        (0, 3, "fold must be at least 1, got 0"),
        (4, 3, "fold must be at most 3, got 4"),
        (3, 3, "for training, validation and 3 folds, got 2 patients"),
        (1, 2, "for training, validation and 2 folds, got 2 patients"),
    ],
)
def test_cross_validation_needs_enough_patients(fold, folds, message):
    with pytest.raises(ValueError, match=message):
        cross_validation(Split(files("1", "2"), [], []), fold, folds)
