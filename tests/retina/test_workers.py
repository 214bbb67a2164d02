"""Threads and processes that carry tasks out."""

import multiprocessing
import os
import signal
import subprocess
import sys
import threading
import time
from functools import partial
from pathlib import Path

import psutil
import pytest

from torchattn_blocks.retina.workers.processes import Processes
from torchattn_blocks.retina.workers.tasks import Done, Waiting, WorkerDiedError
from torchattn_blocks.retina.workers.threads import Threads

BOTH = pytest.mark.parametrize(
    "workers", [Threads(1), Threads(3), Processes(2)], ids=["thread", "threads", "processes"]
)


def square_of(number):
    if number < 0:
        raise ValueError(f"{number} is negative")
    return number * number, os.getpid()


def die_at(folder, deadly, number):
    """Die of this number; of the others' first attempts leave a mark."""
    with Path(folder, f"tried-{number}").open("a") as file:
        file.write(".")
    if number == deadly:
        os.kill(os.getpid(), signal.SIGKILL)
    time.sleep(0.05)
    return number


def nap(seconds):
    time.sleep(seconds)
    return seconds


@BOTH
def test_each_task_ends_once_with_its_result_or_its_error(workers):
    numbers = [3, -1, 0, 7, -2, *range(20)]
    found = {}
    for index, done in enumerate(workers.carry_out(square_of, iter(numbers))):
        assert isinstance(done, Done)
        found[index] = done
    assert sorted(done.task for done in found.values()) == sorted(numbers)
    for task, future in found.values():
        if task < 0:
            with pytest.raises(ValueError, match=f"{task} is negative"):
                future.result()
        else:
            assert future.result()[0] == task * task
    here = {done.future.result()[1] == os.getpid() for done in found.values() if done.task >= 0}
    assert here == {isinstance(workers, Threads)}


@BOTH
def test_no_tasks_have_no_results(workers):
    assert list(workers.carry_out(square_of, [])) == []


@pytest.mark.parametrize("count", [1, 3])
def test_threads_carry_out_so_many_at_a_time(count):
    barrier = threading.Barrier(count)

    def meet(_):
        barrier.wait(timeout=20)  # broken unless so many are there at the same time

    assert [
        done.future.exception() for done in Threads(count).carry_out(meet, range(2 * count))
    ] == ([None] * (2 * count))


def test_tasks_are_taken_as_they_are_needed():
    taken = []

    def tasks():
        for number in range(100):
            taken.append(number)
            yield number

    results = Threads(2).carry_out(square_of, tasks())
    next(results)
    results.close()
    assert len(taken) < 20


def test_waiting_names_what_runs():
    release = threading.Event()
    threads = Threads(2)
    waits = 0
    for over in threads.carry_out(lambda n: release.wait(20), "abc", every=0.05):
        if isinstance(over, Waiting):
            waits += 1
            assert over.running == ("a", "b")
            release.set()
    assert waits == 1


def test_tasks_learn_that_nobody_waits():
    threads, begun = Threads(2), threading.Event()

    def last(_):
        begun.set()
        while not threads.is_over():
            time.sleep(0.01)

    results = threads.carry_out(last, range(9), every=0.05)
    assert isinstance(next(results), Waiting)
    assert begun.is_set()
    assert not threads.is_over()
    results.close()  # would not return before they end
    assert threads.is_over()


def test_a_task_that_kills_its_process_fails_and_the_others_are_done(tmp_path):
    numbers = range(12)
    results = Processes(2).carry_out(partial(die_at, tmp_path, 4), numbers)
    done = {over.task: over.future for over in results}
    assert sorted(done) == list(numbers)
    assert {n for n, future in done.items() if future.exception() is None} == {*numbers} - {4}
    with pytest.raises(WorkerDiedError, match="3 processes died of it"):
        done[4].result()
    tries = {n: len((tmp_path / f"tried-{n}").read_text()) for n in numbers}
    assert tries[4] == 4  # with others, and three times alone
    assert all(tries[n] <= 2 for n in numbers if n != 4)


def test_processes_that_cannot_start_stop_the_work(tmp_path, monkeypatch):
    (tmp_path / "sitecustomize.py").write_text("""
import os, sys
if "multiprocessing.spawn" in " ".join(sys.orig_argv):
    os._exit(3)
""")
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    with pytest.raises(ChildProcessError, match="processes end as soon as they are started here"):
        list(Processes(2).carry_out(square_of, range(9)))


def test_processes_that_are_not_waited_for_end_at_once():
    results = Processes(2).carry_out(nap, [0, 3600, 3600])
    assert next(results).task == 0
    results.close()  # the test would time out
    assert multiprocessing.active_children() == []


def test_processes_end_with_their_parent(tmp_path):
    code = f"""
import sys
sys.path.insert(0, {str(Path(__file__).parent)!r})
from test_workers import nap
from torchattn_blocks.retina.workers.processes import Processes
if __name__ == "__main__":
    for done in Processes(2).carry_out(nap, [0, 3600, 3600]):
        print(done.task, flush=True)
"""
    script = tmp_path / "script.py"
    script.write_text(code)
    parent = subprocess.Popen([sys.executable, script], stdout=subprocess.PIPE, text=True)
    assert parent.stdout.readline() == "0\n"
    children = psutil.Process(parent.pid).children(recursive=True)
    assert len(children) >= 2
    parent.kill()
    parent.communicate()
    _, alive = psutil.wait_procs(children, timeout=20)
    assert alive == []
