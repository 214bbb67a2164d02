"""The workers of a Dask cluster of two processes."""

import os
import signal
import socket
import subprocess
import sys
import threading
import time
from functools import partial
from pathlib import Path

import psutil
import pytest
from cohorts import draw, pictures, rows, small_weights
from distributed import LocalCluster

from torchattn_blocks.retina.workers import cluster as module
from torchattn_blocks.retina.workers.cluster import Cluster, SchedulerLostError
from torchattn_blocks.retina.workers.tasks import Waiting, WorkerDiedError

pytestmark = pytest.mark.filterwarnings("ignore")  # Dask leaves sockets to the garbage collector
COUNT = 100


@pytest.fixture
def cluster():
    with LocalCluster(
        n_workers=2, threads_per_worker=1, processes=True, dashboard_address=None
    ) as running:
        yield running


def worker_ids(cluster):
    return [worker.pid for worker in cluster.workers.values()]


def nap(seconds):
    time.sleep(seconds)
    return seconds, os.getpid()


def die(number):
    if number == 1:
        os.kill(os.getpid(), signal.SIGKILL)
    return number


def last(path):
    """Last until nobody waits."""
    path.write_text("begun")
    while not module.task_is_dropped():
        time.sleep(0.05)
    path.write_text("dropped")


def test_each_task_ends_once_also_if_a_worker_dies(cluster):
    killed = []
    results = {}
    with Cluster(cluster.scheduler_address) as workers:
        assert workers.at_once() == 2
        for done in workers.carry_out(nap, [0.1] * 20):
            results[len(results)] = done.future.result()[1]
            if len(results) == 3:
                killed.append(worker_ids(cluster)[0])
                os.kill(killed[0], signal.SIGKILL)
    assert len(results) == 20
    assert len({*results.values()} - {*killed}) == 2  # the cluster started another


def test_a_task_that_kills_its_workers_fails_and_the_others_are_done(cluster):
    with Cluster(cluster.scheduler_address) as workers:
        done = {over.task: over.future for over in workers.carry_out(die, range(4))}
    assert {task for task, future in done.items() if future.exception() is None} == {0, 2, 3}
    with pytest.raises(WorkerDiedError, match="4 workers of the cluster died of it, while it was"):
        done[1].result()


def test_waiting_names_as_many_tasks_as_run(cluster):
    with Cluster(cluster.scheduler_address) as workers:
        first = next(workers.carry_out(nap, [5, 6, 7, 8], every=0.1))
    assert first == Waiting((5, 6))


@pytest.mark.parametrize("how", ["closed", "killed"])
def test_a_task_learns_that_nobody_waits(cluster, tmp_path, how):
    path = tmp_path / "state"
    if how == "closed":
        with Cluster(cluster.scheduler_address) as workers:
            results = workers.carry_out(last, [path], every=0.1)
            while not path.exists():
                next(results)
            assert path.read_text() == "begun"
            results.close()
    else:
        code = f"""
import sys
sys.path.insert(0, {str(Path(__file__).parent)!r})
from pathlib import Path
from test_cluster import last
from torchattn_blocks.retina.workers.cluster import Cluster, SchedulerLostError
for _ in Cluster({cluster.scheduler_address!r}).carry_out(last, [Path({str(path)!r})]):
    pass
"""
        client = subprocess.Popen([sys.executable, "-c", code])
        while not path.exists():
            time.sleep(0.05)
        client.kill()
        client.wait()
    while path.read_text() != "dropped":  # or the test times out
        time.sleep(0.05)


def test_a_task_learns_that_its_worker_has_lost_the_scheduler(tmp_path):
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        address = f"127.0.0.1:{free.getsockname()[1]}"
    here = {"env": os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)}}
    start = [sys.executable, "-m", "dask"]
    host, port = address.split(":")
    programs = [
        subprocess.Popen([*start, *words, "--no-dashboard"], stderr=subprocess.DEVNULL, **here)
        for words in (
            ["scheduler", "--host", host, "--port", port],
            ["worker", f"tcp://{address}", "--nthreads", "1", "--local-directory", tmp_path],
        )
    ]
    path = tmp_path / "state"
    try:
        with Cluster(f"tcp://{address}") as workers:
            results = workers.carry_out(last, [path], every=0.1)
            while not path.exists():
                next(results)
            programs[0].kill()
            while path.read_text() != "dropped":  # or the test times out
                time.sleep(0.05)
            with pytest.raises(SchedulerLostError, match="the scheduler is gone"):
                list(results)
    finally:
        for program in programs:
            program.kill()
            program.wait()


def test_without_a_scheduler_the_address_is_named(command, tmp_path, monkeypatch):
    monkeypatch.setattr(module, "_WAIT", 1)
    given = ["segment", draw(tmp_path / "eyes", 2), "--out", tmp_path / "out"]
    with pytest.raises(SystemExit, match=r"error: --scheduler tcp://127\.0\.0\.1:9: no answer"):
        command(*given, "--scheduler", "tcp://127.0.0.1:9")
    assert not (tmp_path / "out").exists()


def test_without_dask_the_extra_is_named(command, tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "distributed", None)
    given = ["segment", draw(tmp_path / "eyes", 2), "--scheduler", "tcp://127.0.0.1:9"]
    with pytest.raises(SystemExit, match=r"^error: --scheduler needs .*of the extra \[cluster\]"):
        command(*given, "--out", tmp_path / "out")


@pytest.fixture
def cohort(tmp_path):
    return draw(tmp_path / "eyes", COUNT), small_weights(tmp_path / "small.safetensors")


def when_rows(out, count, then):
    """Do something once a manifest has so many rows."""

    def watch():
        manifest = out / "manifest.csv"
        while not (manifest.exists() and manifest.read_bytes().count(b"\n") > count):
            time.sleep(0.005)
        then()

    thread = threading.Thread(target=watch)
    thread.start()
    return thread


def test_a_lost_worker_changes_no_file(cluster, command, cohort, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)  # not the workers' folder
    images, weights = (path.relative_to(tmp_path) for path in cohort)
    given = ["segment", images, "--weights", weights, "--out"]
    command(*given, "one")
    kill = partial(os.kill, worker_ids(cluster)[0], signal.SIGKILL)
    thread = when_rows(tmp_path / "many", 5, kill)
    said = command(*given, "many", "--scheduler", cluster.scheduler_address)
    thread.join()
    assert f"{cluster.scheduler_address}: 2 images at the same time" in said
    assert pictures(tmp_path / "many") == pictures(tmp_path / "one")
    assert rows(tmp_path / "many") == rows(tmp_path / "one")


def test_threads_of_a_worker_draw_uncertainty_one_after_the_other(command, tmp_path):
    images, weights = draw(tmp_path / "eyes", 12), small_weights(tmp_path / "small.safetensors")
    given = ["segment", images, "--weights", weights, "--uncertainty", 3, "--out"]
    command(*given, tmp_path / "one")
    with LocalCluster(
        n_workers=1, threads_per_worker=4, processes=True, dashboard_address=None
    ) as running:
        command(*given, tmp_path / "many", "--scheduler", running.scheduler_address)
    assert pictures(tmp_path / "many") == pictures(tmp_path / "one")


def test_a_scheduler_that_goes_away_is_told_and_the_run_goes_on_later(
    cluster, command, cohort, tmp_path
):
    images, weights = cohort
    given = ["segment", images, "--weights", weights, "--out"]
    thread = when_rows(tmp_path / "out", 5, cluster.close)
    address = cluster.scheduler_address
    with pytest.raises(SystemExit) as stop:
        command(*given, tmp_path / "out", "--scheduler", address)
    thread.join()
    assert f"error: --scheduler {address}: the scheduler is gone" in stop.value.code
    done = rows(tmp_path / "out")
    assert 5 <= len(done) < COUNT
    assert f"{len(done)} of {COUNT} images are done already" in command(*given, tmp_path / "out")
    command(*given, tmp_path / "one")
    assert pictures(tmp_path / "out") == pictures(tmp_path / "one")
    assert rows(tmp_path / "out") == rows(tmp_path / "one")


def test_workers_load_weights_again_that_have_changed(cluster, command, cohort, tmp_path):
    images, weights = cohort
    given = ["segment", images / "eye-000.png", images / "eye-001.png", "--weights", weights]
    given += ["--scheduler", cluster.scheduler_address]
    command(*given, "--out", tmp_path / "first")
    content = weights.read_bytes()
    weights.write_bytes(content[:-4] + b"\0\0\0\0")  # trained on, in the same place
    command(*given, "--out", tmp_path / "second")
    assert pictures(tmp_path / "first") != pictures(tmp_path / "second")


GRID = """
    [[grid]]
    dataset = ["folder"]
    model = ["backbone"]
    options = [{widths = [4, 8], epochs = 12, precision = "no"}]
"""


def test_a_study_survives_the_loss_of_a_worker(cluster, command, images, tmp_path):
    (tmp_path / "mine.toml").write_text(GRID)
    out = tmp_path / "out"
    killed = []

    def kill():
        while not list(out.rglob("checkpoint-*.pt")):
            time.sleep(0.01)
        for pid in worker_ids(cluster):
            if trainings := psutil.Process(pid).children(recursive=True):
                killed.extend(trainings)
                os.kill(pid, signal.SIGKILL)

    thread = threading.Thread(target=kill)
    thread.start()
    given = ["study", tmp_path / "mine.toml", "--folder", images, "--out", out]
    said = command(*given, "--scheduler", cluster.scheduler_address)
    thread.join()
    assert f"{cluster.scheduler_address}: 2 runs at the same time" in said
    assert "1 of 1 seed" in said
    assert len(list(out.rglob("report.json"))) == 4
    assert killed  # they end with their worker
    _, alive = psutil.wait_procs(killed, timeout=20)
    assert [one for one in alive if one.status() != psutil.STATUS_ZOMBIE] == []
