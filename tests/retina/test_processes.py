"""Training in several processes."""

import itertools
import math
import subprocess
import sys
from dataclasses import replace
from functools import partial
from pathlib import Path

import accelerate
import pytest
import torch
from small_runs import FAST, SMALL_CROPS, drawn, run
from torch import nn

from torchattn_blocks import UNet, plain_stage
from torchattn_blocks.retina import Network, load_weights, train
from torchattn_blocks.retina.training.order import Batches
from torchattn_blocks.retina.training.seeds import Use, torch_seed
from torchattn_blocks.retina.training.time_limit import TimeLimit
from torchattn_blocks.retina.training.validation import Validation

EVEN = replace(FAST, batch_size=4)


def images():
    return [drawn(seed, 64, 64) for seed in range(6)]


def deterministic_run(folder, **options):
    """A training in which nothing is random: no DropBlock, and no statistics of a batch."""
    torch.manual_seed(0)
    model = UNet(3, 1, widths=(8, 16), stage=plain_stage(norm=partial(nn.GroupNorm, 2)))
    given = images()
    return model, train(model, given[:4], given[4:], EVEN, folder, **options)


def main(folder):
    """What each of the processes does: a whole run, and one that is stopped at every step."""
    model, log = deterministic_run(folder / "whole")
    torch.save(model.state_dict(), folder / f"{torch.distributed.get_rank()}.pt")
    allows = TimeLimit.allows
    for turn in range(6):  # steps and validations, one in each turn
        done = itertools.count()
        # One process has time, the other has none after its first work: none goes on.
        hasty = torch.distributed.get_rank() == 1
        TimeLimit.allows = lambda *_, done=done, hasty=hasty: next(done) < 1 or not hasty
        _, part = deterministic_run(folder / "part", resume=turn > 0, max_time=100)
    assert part == log
    # With the statistics of batches, DropBlock, averages and calibration.
    TimeLimit.allows = allows
    network = Network(widths=(8, 16))
    model, _ = run(folder / "crops", images(), SMALL_CROPS, network=network)
    torch.save(model.state_dict(), folder / f"crops-{torch.distributed.get_rank()}.pt")
    # One process validates; all stop if a loss is not finite.
    seen = Validation._seen
    Validation._seen = lambda *given: (math.nan, seen(*given)[1])
    with pytest.raises(FloatingPointError, match=f"loss of image {images()[4].name} is nan"):
        deterministic_run(folder / "nan")


def test_two_processes_train_as_one(tmp_path):
    alone, log = deterministic_run(tmp_path / "alone")
    torchrun = [sys.executable, "-m", "torch.distributed.run", "--standalone"]
    command = [*torchrun, "--nproc_per_node=2", __file__, str(tmp_path)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    for rank in (0, 1):
        weights = torch.load(tmp_path / f"{rank}.pt")
        for name, value in alone.state_dict().items():
            torch.testing.assert_close(weights[name], value, rtol=1e-5, atol=1e-6, msg=name)
    kept = load_weights(tmp_path / "crops" / "last.safetensors").model.state_dict()
    for rank in (0, 1):
        weights = torch.load(tmp_path / f"crops-{rank}.pt")
        assert all(torch.equal(value, kept[name]) for name, value in weights.items())
    rows = [
        [float(cell) for line in (tmp_path / folder / "log.csv").read_text().splitlines()[1:]
         for cell in line.split(",")]
        for folder in ("alone", "whole", "part")
    ]  # fmt: skip
    assert rows[1] == pytest.approx(rows[0], rel=1e-5)
    assert rows[2] == rows[1]
    assert len(log) == 3


@pytest.mark.parametrize("recipe", [replace(EVEN, epochs=2), replace(SMALL_CROPS, batch_size=4)])
@pytest.mark.parametrize("count", [1, 4, 7, 18])
def test_each_batch_is_shared_evenly(recipe, count):
    steps = recipe.steps_for(count)
    alone = Batches(count, recipe, 0, steps, 0, 1)
    both = [Batches(count, recipe, 0, steps, rank, 2) for rank in (0, 1)]
    assert len(alone) == len(both[0]) == steps
    for step, (whole, first, second) in enumerate(zip(alone, *both, strict=True)):
        assert len(first) == len(second) > 0
        shared = sorted(first + second)
        assert shared[: len(whole)] == sorted(whole)
        filled = {number for _, _, number in shared[len(whole) :]}
        assert len(shared) - len(whole) <= 1
        assert filled <= set(range(count))
        assert [n for _, _, n in shared] == both[0].of_step(step)


def test_processes_and_steps_drop_other_blocks():
    seeds = {torch_seed(1, Use.DROPOUT, step, rank) for step in range(100) for rank in range(8)}
    assert len(seeds) == 800
    others = {torch_seed(1, Use.EXAMPLE, step, rank) for step in range(100) for rank in range(8)}
    assert not seeds & others


def test_processes_must_be_started_by_a_launcher(tmp_path, monkeypatch):
    accelerate.PartialState()  # of one process; once it is there, the environment is not read again
    monkeypatch.setenv("WORLD_SIZE", "2")
    with pytest.raises(ValueError, match="WORLD_SIZE is 2, but accelerate finds 1 process"):
        run(tmp_path, images())
    assert not list(tmp_path.iterdir())


def test_a_batch_must_divide_evenly(tmp_path, monkeypatch):
    monkeypatch.setattr("accelerate.Accelerator.num_processes", 3)
    with pytest.raises(ValueError, match="multiple of the number of processes, 3, got 2"):
        run(tmp_path, images())


if __name__ == "__main__":
    main(Path(sys.argv[1]))
