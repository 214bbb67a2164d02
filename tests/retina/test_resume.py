"""Trainings that are stopped and resumed, and the folders that they leave."""

import itertools
import json
import resource
import sys
from dataclasses import replace

import numpy as np
import pytest
import torch
from small_runs import FAST, SMALL_CROPS, drawn, equal, run, small_rsan

from torchattn_blocks.retina import (
    Augmentation,
    Crops,
    Network,
    Recipe,
    load_weights,
    train,
)
from torchattn_blocks.retina.training import checkpoint, loop, time_limit
from torchattn_blocks.retina.training.checkpoint import progress
from torchattn_blocks.retina.training.losses import Objective, fastest_layout

AUGMENTED = replace(FAST, augmentation=Augmentation(flip=True, rotate=True, gamma=0.2))
RECIPES = {"whole": AUGMENTED, "crops": SMALL_CROPS}
NETWORK = Network(widths=(8, 16))
WORKS = 9  # of a run: six steps and three validations


@pytest.fixture(scope="module")
def images():
    return [drawn(seed, 64, 64) for seed in range(6)]


@pytest.fixture(scope="module")
def whole(images, tmp_path_factory):
    """For each recipe the uninterrupted run: model, log and folder."""
    folders = {name: tmp_path_factory.mktemp(name) for name in RECIPES}
    return {
        name: (*run(folder, images, RECIPES[name], network=NETWORK), folder)
        for name, folder in folders.items()
    }


def same_run(name, whole, model, log, folder):
    """Whether a run ended as the uninterrupted one did, in all that it leaves."""
    expected, expected_log, expected_folder = whole[name]
    files = ("last.safetensors", "best.safetensors", "log.csv", "run.json")
    return (
        equal(model, expected)
        and log == expected_log
        and all((folder / f).read_bytes() == (expected_folder / f).read_bytes() for f in files)
    )


@pytest.mark.parametrize("name", RECIPES)
@pytest.mark.parametrize(
    "works",
    [
        pytest.param(works, marks=() if works in (1, 2, 5) else pytest.mark.slow)
        for works in range(WORKS)
    ],
)
def test_stopped_anywhere_it_ends_as_an_uninterrupted_run(
    tmp_path, images, whole, monkeypatch, name, works
):
    with monkeypatch.context() as patch:
        done = itertools.count()
        patch.setattr(time_limit.TimeLimit, "allows", lambda *_: next(done) < works)
        _, log = run(tmp_path, images, RECIPES[name], network=NETWORK)
    assert log == whole[name][1][: len(log)]
    steps = works - works // 3  # two steps, then a validation, and so on
    assert progress(tmp_path) == (steps, 6)
    assert len(log) == works // 3
    model, log = run(tmp_path, images, RECIPES[name], network=NETWORK, resume=True)
    assert same_run(name, whole, model, log, tmp_path)


@pytest.mark.parametrize("name", RECIPES)
def test_stopped_after_every_work_with_one_model(tmp_path, images, whole, monkeypatch, name):
    model, log = small_rsan(), []
    for turn in range(WORKS):
        done = itertools.count()
        with monkeypatch.context() as patch:
            patch.setattr(time_limit.TimeLimit, "allows", lambda *_, done=done: next(done) < 1)
            options = {"network": NETWORK, "resume": turn > 0}
            log = train(model, images[:4], images[4:], RECIPES[name], tmp_path, **options)
    assert same_run(name, whole, model, log, tmp_path)


class PowerCutError(Exception):
    pass


@pytest.mark.parametrize("name", RECIPES)
@pytest.mark.parametrize("every", [0.0, 60.0])
@pytest.mark.parametrize("calls", [2, 6])
def test_cut_within_a_step_it_ends_as_an_uninterrupted_run(
    tmp_path, images, whole, monkeypatch, name, every, calls
):
    monkeypatch.setattr(loop, "_SAVE_EVERY", every)
    forward, done = Objective.forward, itertools.count(1)

    def cut(self, *batch):
        result = forward(self, *batch)  # the statistics of batch normalisation have changed
        if self.training and next(done) == calls:
            raise PowerCutError
        return result

    with monkeypatch.context() as patch:
        patch.setattr(Objective, "forward", cut)
        with pytest.raises(PowerCutError):
            run(tmp_path, images, RECIPES[name], network=NETWORK)
    # A checkpoint at each step, or at validations only: after steps 2, 4 and 6.
    assert progress(tmp_path)[0] == (calls - 1 if every == 0 else (calls - 1) // 2 * 2)
    model, log = run(tmp_path, images, RECIPES[name], network=NETWORK, resume=True)
    assert same_run(name, whole, model, log, tmp_path)


@pytest.mark.parametrize("name", RECIPES)
def test_cut_before_an_update_the_same_model_goes_on(tmp_path, images, whole, monkeypatch, name):
    """Gradients of the step that was cut do not enter the next one; nor do any of before."""
    model, update, done = small_rsan(), loop.State.update, itertools.count(1)
    for weights in model.parameters():
        weights.grad = torch.ones_like(weights)

    def cut(self):
        if next(done) == 4:
            raise KeyboardInterrupt
        update(self)

    with monkeypatch.context() as patch:
        patch.setattr(loop.State, "update", cut)
        with pytest.raises(KeyboardInterrupt):
            train(model, images[:4], images[4:], RECIPES[name], tmp_path, network=NETWORK)
    options = {"network": NETWORK, "resume": True}
    log = train(model, images[:4], images[4:], RECIPES[name], tmp_path, **options)
    assert same_run(name, whole, model, log, tmp_path)


def test_a_cut_between_the_last_checkpoint_and_its_log_is_mended(
    tmp_path, images, whole, monkeypatch
):
    write, calls = checkpoint.write_whole, itertools.count(1)

    def cut(path, content):
        if path.name == "log.csv" and next(calls) == 4:
            raise PowerCutError
        write(path, content)

    with monkeypatch.context() as patch:
        patch.setattr(checkpoint, "write_whole", cut)
        with pytest.raises(PowerCutError):
            run(tmp_path, images, SMALL_CROPS, network=NETWORK)
    assert progress(tmp_path) == (6, 6)
    assert not checkpoint.is_finished(tmp_path)
    model, log = run(tmp_path, images, SMALL_CROPS, network=NETWORK, resume=True)
    assert same_run("crops", whole, model, log, tmp_path)
    assert checkpoint.is_finished(tmp_path)


def test_an_interrupt_while_writing_leaves_no_part(tmp_path, monkeypatch):
    (tmp_path / "a").write_bytes(b"old")

    def interrupt(_):
        raise KeyboardInterrupt

    monkeypatch.setattr("os.fsync", interrupt)
    with pytest.raises(KeyboardInterrupt):
        checkpoint.write_whole(tmp_path / "a", b"new")
    assert {path.name: path.read_bytes() for path in tmp_path.iterdir()} == {"a": b"old"}


def test_a_cut_while_a_checkpoint_is_written_leaves_the_last(tmp_path, images, whole, monkeypatch):
    write, calls = checkpoint.write_whole, itertools.count(1)

    def cut(path, content):
        if path.suffix == ".pt" and next(calls) == 4:  # that of the start, and the third
            path.with_name(path.name + ".partial").write_bytes(content[:1000])
            raise PowerCutError
        write(path, content)

    with monkeypatch.context() as patch:
        patch.setattr(checkpoint, "write_whole", cut)
        with pytest.raises(PowerCutError):
            run(tmp_path, images, SMALL_CROPS, network=NETWORK)
    assert progress(tmp_path) == (4, 6)
    model, log = run(tmp_path, images, SMALL_CROPS, network=NETWORK, resume=True)
    assert same_run("crops", whole, model, log, tmp_path)


def test_resuming_a_finished_run_trains_no_further(tmp_path, images, whole):
    for resume in (False, True):
        model, log = run(tmp_path, images, SMALL_CROPS, network=NETWORK, resume=resume)
        assert same_run("crops", whole, model, log, tmp_path)


class FakeClock:
    """Time that passes only where a test lets it."""

    def __init__(self, monkeypatch):
        self.now = 0.0
        monkeypatch.setattr(time_limit, "monotonic", lambda: self.now)
        forward = Objective.forward

        def slow_forward(module, images, labels):
            self.now += 10.0
            return forward(module, images, labels)

        monkeypatch.setattr(Objective, "forward", slow_forward)


@pytest.mark.parametrize(
    ("max_time", "steps", "validations", "end"),
    [
        (1000.0, 6, 3, 120.0),  # 40 s for an epoch: two steps, two images of validation
        (84.1, 4, 2, 80.0),  # after 60 s, 20 s for a validation are foreseen to take 24
        (83.9, 4, 1, 60.0),
        (64.1, 4, 1, 60.0),
        (52.1, 3, 1, 50.0),
        (51.9, 2, 1, 40.0),
        (31.9, 2, 0, 20.0),
        (22.1, 2, 0, 20.0),
        (21.9, 1, 0, 10.0),
        # Not foreseen: that a validation takes longer than a step, and how long the first takes.
        (32.1, 2, 1, 40.0),
        (1e-3, 1, 0, 10.0),
    ],
)
def test_max_time_is_kept(tmp_path, images, monkeypatch, max_time, steps, validations, end):
    clock = FakeClock(monkeypatch)
    _, log = run(tmp_path, images, FAST, max_time=max_time)
    assert (progress(tmp_path), len(log)) == ((steps, 6), validations)
    assert clock.now == end


def test_max_time_must_be_positive(tmp_path, images):
    with pytest.raises(ValueError, match="max_time must be above 0 and finite, got 0"):
        run(tmp_path, images, max_time=0)


def test_progress_of_no_run(tmp_path):
    assert progress(tmp_path) == (0, 0)


def test_two_checkpoints_are_left_and_other_files_are_not_touched(tmp_path, images):
    (tmp_path / "checkpoint-best.pt").write_text("mine")
    run(tmp_path, images)
    names = sorted(path.name for path in tmp_path.iterdir())
    ours = ["checkpoint-4.pt", "checkpoint-6.pt"]
    assert names == [*ours, "checkpoint-best.pt", "log.csv", "run.json"]
    run(tmp_path, images, resume=True)


def test_a_run_is_not_overwritten(tmp_path, images):
    run(tmp_path, images)
    before = (tmp_path / "checkpoint-6.pt").read_bytes()
    with pytest.raises(ValueError, match=r"holds a run\. Use resume"):
        run(tmp_path, images)
    assert (tmp_path / "checkpoint-6.pt").read_bytes() == before


@pytest.mark.parametrize("kept", ["last.safetensors", "log.csv"])
def test_a_run_without_its_checkpoints_is_not_overwritten(tmp_path, images, kept):
    run(tmp_path, images, network=NETWORK)
    for path in tmp_path.iterdir():
        if path.name != kept:
            path.unlink()
    with pytest.raises(ValueError, match=r"holds a run\. Use resume"):
        run(tmp_path, images, network=NETWORK)
    assert [path.name for path in tmp_path.iterdir()] == [kept]


def test_a_start_that_failed_is_no_run(tmp_path, images, whole):
    class Fails(torch.nn.Conv2d):
        def forward(self, x):
            if self.training:
                raise RuntimeError("at the first step")
            return super().forward(x)

    with pytest.raises(RuntimeError, match="at the first step"):
        train(Fails(3, 1, 1), images[:4], images[4:], FAST, tmp_path)
    assert progress(tmp_path) == (0, 6)
    model, log = run(tmp_path, images, SMALL_CROPS, network=NETWORK)
    assert same_run("crops", whole, model, log, tmp_path)


def test_a_stop_writes_its_checkpoint_once(tmp_path, images, monkeypatch):
    written, write, done = [], checkpoint.write_whole, itertools.count()

    def spy(path, content):
        written.append(path.name)
        write(path, content)

    monkeypatch.setattr(checkpoint, "write_whole", spy)
    monkeypatch.setattr(time_limit.TimeLimit, "allows", lambda *_: next(done) < 3)
    run(tmp_path, images)  # two steps and a validation
    assert [name for name in written if name.endswith(".pt")] == [
        "checkpoint-0.pt",
        "checkpoint-2.pt",
    ]


def test_resume_needs_a_run(tmp_path, images):
    with pytest.raises(ValueError, match="holds no run to resume"):
        run(tmp_path / "nothing", images, resume=True)
    assert not (tmp_path / "nothing").exists()


def test_the_record_says_what_made_the_run(tmp_path, images):
    recipe = replace(FAST, precision="auto")
    run(tmp_path, images, recipe, network=NETWORK, dataset="mine")
    record = json.loads((tmp_path / "run.json").read_text())
    assert record["dataset"] == "mine"
    assert record["model"]["widths"] == [8, 16]
    assert record["recipe"]["precision"] == Recipe().resolved_precision()
    assert record["recipe"]["steps"] == 6
    layout = str(fastest_layout(torch.device("cpu")))
    assert record["machine"] == {"device": "cpu", "memory_format": layout, "processes": 1}
    assert torch.__version__.startswith(record["versions"]["torch"])  # it may add the build
    assert set(record["versions"]) == {"torch", "numpy", "monai", "torchattn_blocks"}
    prints = record["images"]["training"] | record["images"]["validation"]
    assert list(prints) == [fundus.name for fundus in images]
    assert len(set(prints.values())) == 6


def with_pixel(fundus, name):
    """An image that differs in one pixel."""
    changed = getattr(fundus, name).copy()
    changed[30, 30] = ~changed[30, 30]
    return replace(fundus, **{name: changed})


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"recipe": replace(FAST, epochs=4)}, "another run: recipe.steps was 6, got 8. "),
        ({"recipe": replace(FAST, side=72)}, "another run: recipe.side was None, got 72. "),
        (
            {"recipe": replace(FAST, learning_rate=1e-2)},
            r"another run: recipe.learning_rate was 0.001, got 0.01\. Resume it as it began",
        ),
        ({"recipe": replace(FAST, precision="bf16")}, "recipe.precision was no, got bf16. "),
        (
            {"recipe": replace(FAST, crops=Crops(32))},
            "run: recipe.crops was None, got {'side': 32, .*}\\. ",
        ),
        ({"dataset": "other"}, "another run: dataset was mine, got other. "),
        (
            {"network": replace(NETWORK, p=0.3)},
            r"another run: model.p was 0.15, got 0.3\. ",
        ),
        ({"image": "image"}, r"run: images.training.synthetic-0002 was [0-9a-f]{16}, got [0-9a-f]"),
        ({"image": "label"}, r"run: images.training.synthetic-0002 was [0-9a-f]{16}, got [0-9a-f]"),
        ({"image": "fov"}, r"run: images.training.synthetic-0002 was [0-9a-f]{16}, got [0-9a-f]"),
        (
            {"versions": "1.0"},
            r"run: versions.torch was .*, got 1\.0; versions.numpy was .*; versions.monai",
        ),
    ],
)
def test_only_the_same_run_is_resumed(tmp_path, images, monkeypatch, change, message):
    given = {"recipe": FAST, "network": NETWORK, "dataset": "mine"}
    monkeypatch.setattr(time_limit.TimeLimit, "allows", lambda *_: False)
    train(small_rsan(), images[:4], images[4:], folder=tmp_path, **given)
    before = (tmp_path / "run.json").read_bytes()
    given |= {name: value for name, value in change.items() if name in given}
    if "image" in change:
        images = [*images[:2], with_pixel(images[2], change["image"]), *images[3:]]
    if "versions" in change:
        module = sys.modules["torchattn_blocks.retina.training.record"]
        monkeypatch.setattr(module, "version", lambda _: change["versions"])
    with pytest.raises(ValueError, match=message) as refusal:
        train(small_rsan(), images[:4], images[4:], folder=tmp_path, resume=True, **given)
    if "versions" not in change:
        assert str(refusal.value).count(" was ") == 1
    assert (tmp_path / "run.json").read_bytes() == before


def frozen_norm(model):
    next(m for m in model.modules() if isinstance(m, torch.nn.BatchNorm2d)).eval()


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda model: None, None),
        (frozen_norm, r"model.frozen was \[\], got \['encoders"),
        (lambda model: model.head.requires_grad_(False), r"frozen was \[\], got \['head.weight'"),
        (
            lambda model: setattr(model.encoders[0][0].drop1, "block_size", (3, 3)),
            r"model.layers was [0-9a-f]{16}, got [0-9a-f]{16}\. ",
        ),
    ],
)
def test_only_the_same_model_is_resumed(tmp_path, images, monkeypatch, change, message):
    monkeypatch.setattr(time_limit.TimeLimit, "allows", lambda *_: False)
    run(tmp_path, images)
    model = small_rsan()
    change(model)
    if message is None:
        train(model, images[:4], images[4:], FAST, tmp_path, resume=True)
        return
    with pytest.raises(ValueError, match=message):
        train(model, images[:4], images[4:], FAST, tmp_path, resume=True)


def test_only_the_same_order_of_images_is_resumed(tmp_path, images, monkeypatch):
    monkeypatch.setattr(time_limit.TimeLimit, "allows", lambda *_: False)
    run(tmp_path, images)
    with pytest.raises(ValueError, match=r"the order of images\.training was synthetic-0000, syn"):
        run(tmp_path, [*images[3::-1], *images[4:]], resume=True)


def test_notes_may_differ(tmp_path, images, monkeypatch):
    monkeypatch.setattr(time_limit.TimeLimit, "allows", lambda *_: False)
    run(tmp_path, images)
    path = tmp_path / "run.json"
    record = json.loads(path.read_text())
    assert set(record["notes"]) == {
        "python",
        "accelerate",
        "threads",
        "cpu",
        "gpu",
        "memory_efficient",
    }
    record["notes"]["threads"] += 1
    path.write_text(json.dumps(record))
    run(tmp_path, images, resume=True)


def test_other_auxiliary_targets_are_another_run(tmp_path, images, monkeypatch):
    monkeypatch.setattr(time_limit.TimeLimit, "allows", lambda *_: False)
    recipe = replace(FAST, auxiliary=0.5)
    for level, resume in ((0.5, False), (0.6, True)):
        hints = {f.name: np.full(f.fov.shape, level, np.float32) for f in images[:4]}
        if resume:
            with pytest.raises(ValueError, match=r"images\.training\.synthetic-0000 was"):
                run(tmp_path, images, recipe, auxiliary=hints, resume=True)
        else:
            run(tmp_path, images, recipe, auxiliary=hints)


@pytest.mark.parametrize("where", ["a byte", "the end", "everything"])
def test_a_damaged_checkpoint_is_named_and_the_one_before_goes_on(tmp_path, images, whole, where):
    model, _ = run(tmp_path, images, SMALL_CROPS, network=NETWORK)
    path = tmp_path / "checkpoint-6.pt"
    content = bytearray(path.read_bytes())
    match where:
        case "a byte":
            content[len(content) // 2] ^= 1
        case "the end":
            content = content[:-1000]
        case "everything":
            content = bytearray()
    path.write_bytes(content)
    with pytest.raises(ValueError, match="this checkpoint is damaged") as error:
        run(tmp_path, images, SMALL_CROPS, network=NETWORK, resume=True)
    assert str(error.value) == (
        f"{path}: this checkpoint is damaged. To go on from checkpoint-4.pt, delete it."
    )
    path.unlink()
    model, log = run(tmp_path, images, SMALL_CROPS, network=NETWORK, resume=True)
    assert same_run("crops", whole, model, log, tmp_path)


def test_damage_to_the_directory_of_a_checkpoint_is_named(tmp_path, images):
    """It is at the end of the file. Some bytes in it mean nothing; all others are refused."""
    run(tmp_path, images)
    path = tmp_path / "checkpoint-6.pt"
    content = path.read_bytes()
    intact = checkpoint.load_checkpoint(path)
    refused = 0
    for place in range(-3000, 0, 20):
        damaged = bytearray(content)
        damaged[place] ^= 0x41
        path.write_bytes(damaged)
        try:
            loaded = checkpoint.load_checkpoint(path)
        except ValueError as error:
            assert str(error).startswith(f"{path}: this checkpoint is damaged. ")  # noqa: PT017
            refused += 1
        else:
            assert loaded["log"] == intact["log"]
    assert refused > 50


def test_a_damaged_record_is_named(tmp_path, images):
    run(tmp_path, images)
    (tmp_path / "run.json").write_text("{")
    with pytest.raises(ValueError, match=r"run\.json: this record of a run is damaged"):
        run(tmp_path, images, resume=True)


def test_a_full_disk_is_one_line_and_the_last_checkpoint_remains(
    tmp_path, images, whole, monkeypatch
):
    """From step 4 on, files may grow to 100 kB only, as on a full disk: checkpoints are larger."""
    save, (_, hard) = loop.save_checkpoint, resource.getrlimit(resource.RLIMIT_FSIZE)

    def filling(folder, state, log):
        limit = 100_000 if state["step"] == 4 else hard
        resource.setrlimit(resource.RLIMIT_FSIZE, (limit, hard))
        try:
            save(folder, state, log)
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, (hard, hard))

    with monkeypatch.context() as patch:
        patch.setattr(loop, "save_checkpoint", filling)
        with pytest.raises(OSError, match="File too large") as error:
            run(tmp_path, images, SMALL_CROPS, network=NETWORK)
    assert str(error.value) == f"[Errno 27] File too large: '{tmp_path / 'checkpoint-4.pt'}'"
    assert not list(tmp_path.glob("*.partial"))
    assert progress(tmp_path) == (2, 6)
    model, log = run(tmp_path, images, SMALL_CROPS, network=NETWORK, resume=True)
    assert same_run("crops", whole, model, log, tmp_path)


def test_a_finished_run_that_is_resumed_keeps_its_shift(tmp_path, images):
    recipe = replace(SMALL_CROPS, learning_rate=1e-2, steps=30, validate_every=30, average=0.0)
    first, _ = run(tmp_path, images, recipe, network=NETWORK)
    again, _ = run(tmp_path, images, recipe, network=NETWORK, resume=True)
    assert equal(first, again)
    assert equal(load_weights(tmp_path / "last.safetensors").model, again)
    assert load_weights(tmp_path / "last.safetensors").settings.about["bias_shift"] != 0


def test_a_checkpoint_without_the_choice_is_refused(tmp_path, images):
    """As version 0.1.0 wrote them."""
    run(tmp_path, images, SMALL_CROPS, network=NETWORK, max_time=1e-9)
    path = tmp_path / "checkpoint-0.pt"
    saved = torch.load(path)
    del saved["choice"]
    torch.save(saved, path)
    with pytest.raises(ValueError, match=r"checkpoint-0\.pt: an earlier version of this library"):
        run(tmp_path, images, SMALL_CROPS, network=NETWORK, resume=True)


@pytest.mark.parametrize("part", ["loss", "gradient", "validation", "calibration"])
def test_a_loss_that_is_not_finite_stops_the_run(tmp_path, images, whole, monkeypatch, part):
    forward, done = Objective.forward, itertools.count(1)
    # The second validation looks at two validation images, then at four training images.
    seen = {"validation": len(images) + 2, "calibration": len(images) + 4}

    def diverge(self, *batch):
        loss, logits = forward(self, *batch)
        if part in seen and not self.training and next(done) == seen[part]:
            return loss * np.nan, logits
        if part not in seen and self.training and next(done) == 4:
            if part == "loss":
                return loss * np.nan, logits
            return loss + (loss - loss.detach()).abs().sqrt(), logits  # its slope is infinite
        return loss, logits

    with monkeypatch.context() as patch:
        patch.setattr(Objective, "forward", diverge)
        with pytest.raises(FloatingPointError) as error:
            run(tmp_path, images, SMALL_CROPS, network=NETWORK)
    message = str(error.value)
    assert f"{tmp_path / 'checkpoint-2.pt'} is the last checkpoint" in message
    if part in seen:
        # Images 4 and 5 are for validation, 0 to 3 for training.
        name = images[5 if part == "validation" else 1].name
        assert f"in the validation after step 4 the loss of image {name} is nan" in message
    else:
        numbers = loop.Batches(4, SMALL_CROPS, 0, 6, 0, 1).of_step(3)
        names = ", ".join(images[number].name for number in numbers)
        assert f"at step 4 (images {names}) the loss is" in message
    model, log = run(tmp_path, images, SMALL_CROPS, network=NETWORK, resume=True)
    assert same_run("crops", whole, model, log, tmp_path)


def test_weights_of_a_finished_run_load(whole):
    model, log, folder = whole["crops"]
    trained = load_weights(folder / "last.safetensors")
    assert equal(trained.model, model)
    assert trained.settings.about["step"] == log[-1].step
