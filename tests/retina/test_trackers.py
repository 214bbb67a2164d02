"""Trackers of a training, by accelerate."""

import pytest
from small_runs import SMALL_CROPS, drawn, equal, run
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from torchattn_blocks.retina.training import trackers


@pytest.fixture(scope="module")
def eyes():
    return [drawn(seed, 64, 64) for seed in range(6)]


def scalars(folder):
    """The values that TensorBoard shows, by tag."""
    events = EventAccumulator(str(folder / "torchattn_blocks")).Reload()
    return {
        tag: [(event.step, event.value) for event in events.Scalars(tag)]
        for tag in events.Tags()["scalars"]
    }


@pytest.mark.filterwarnings("ignore:.*SwigPy:DeprecationWarning")
def test_tensorboard_gets_losses_rates_and_scores(tmp_path, eyes):
    plain, log = run(tmp_path / "plain", eyes, SMALL_CROPS)
    tracked, _ = run(tmp_path / "tracked", eyes, SMALL_CROPS, log_with=["tensorboard"])
    shown = scalars(tmp_path / "tracked")
    assert [step for step, _ in shown["training/loss"]] == [1, 2, 3, 4, 5, 6]
    rates = [value for _, value in shown["training/learning_rate"]]
    assert rates == pytest.approx([SMALL_CROPS.learning_rate_at(step, 6) for step in range(6)])
    for name in ("loss", "f1", "auc", "cl_dice"):
        field = "validation_loss" if name == "loss" else name
        values = [(entry.step, getattr(entry, field)) for entry in log]
        assert shown[f"validation/{name}"] == [(s, pytest.approx(v)) for s, v in values]
    assert equal(plain, tracked)
    assert list((tmp_path / "tracked" / "torchattn_blocks").rglob("hparams.yml"))


def test_a_resumed_training_goes_on_in_the_same_log(tmp_path, eyes):
    run(tmp_path, eyes, SMALL_CROPS, max_time=1e-3, log_with=["tensorboard"])
    run(tmp_path, eyes, SMALL_CROPS, resume=True, log_with=["tensorboard"])
    assert [step for step, _ in scalars(tmp_path)["training/loss"]] == [1, 2, 3, 4, 5, 6]


def test_the_command_passes_trackers_on(command, images, tmp_path):
    command("train", "--data", images, "--dataset", "folder", "--widths", "4,8", "--steps", 2,
            "--precision", "no", "--log-with", "tensorboard", "--out", tmp_path)  # fmt: skip
    assert len(scalars(tmp_path)["training/loss"]) == 2


@pytest.mark.parametrize(
    ("given", "error", "message"),
    [
        (["tensorbord"], ValueError, "log_with must be of .*tensorboard.*, got 'tensorbord'"),
        (["wandb"], ValueError, "log_with 'wandb' needs its package, which is not installed"),
        ("tensorboard", TypeError, "log_with must be a list or a tuple, got str"),
    ],
)
def test_trackers_that_cannot_log_are_refused(tmp_path, eyes, monkeypatch, given, error, message):
    monkeypatch.setattr(trackers, "get_available_trackers", lambda: ["tensorboard"])
    with pytest.raises(error, match=message):
        run(tmp_path / "out", eyes, log_with=given)
    assert not (tmp_path / "out").exists()
