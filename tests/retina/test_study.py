"""Studies: grids from files, their runs, tables and figure."""

import csv
import io
import json
import os
import re
import shutil
import subprocess
import sys
import threading
from pathlib import Path

import numpy as np
import pytest
from matplotlib.figure import Figure

from torchattn_blocks.retina import Evaluation, Spread, SystemScores, ViewScores
from torchattn_blocks.retina.studies import running
from torchattn_blocks.retina.studies.grid import read_grid
from torchattn_blocks.retina.studies.results import SCORES
from torchattn_blocks.retina.studies.run import EVALUATIONS, Run
from torchattn_blocks.retina.write import write_whole

STEPS = 3


def run(dataset="folder", model="rsan", recipe="paper", seed=0, **options):
    options = {name.replace("_", "-"): value for name, value in options.items()}
    return Run(dataset, model, recipe, tuple(sorted(options.items())), seed)


@pytest.fixture
def grid(tmp_path):
    """Write a grid; its path."""

    def write(text):
        path = tmp_path / "mine.toml"
        path.write_text(text, encoding="utf-8")
        return str(path)

    return write


# Grids.


def test_a_grid_is_the_product_of_its_lists(grid):
    path = grid("""
        title = "Mine"
        about = "To see."
        [[grid]]
        dataset = ["drive", "folder"]
        model = ["rsan", "unet"]
        recipe = ["paper", "crops"]
        options = [{}, {p = 0.1}]
        seed = [3, 1]
    """)
    title, about, runs = read_grid(path)
    assert (title, about) == ("Mine", "To see.")
    assert len(set(runs)) == len(runs) == 2**5
    assert runs[:3] == [
        run("drive", seed=3),
        run("drive", seed=1),
        run("drive", seed=3, p=0.1),
    ]
    assert runs[-1] == run("folder", "unet", "crops", seed=1, p=0.1)


def test_all_but_the_data_set_has_a_default_and_a_run_is_there_once(grid):
    path = grid('[[grid]]\ndataset = ["drive"]\n[[grid]]\ndataset = ["folder", "drive"]\n')
    assert read_grid(path) == ("mine", "", [run("drive"), run("folder")])


@pytest.mark.parametrize(
    ("options", "folder", "arguments"),
    [
        ("{}", "default", []),
        ("{p = 0.1, block-size = 9}", "block-size=9,p=0.1", ["--block-size", "9", "--p", "0.1"]),
        ('{gamma = "exact"}', "gamma=exact", ["--gamma", "exact"]),
        ("{attention-after = true}", "attention-after", ["--attention-after"]),
        ('{attention = "cbam"}', "attention=cbam", ["--attention", "cbam"]),
        ("{augment = false}", "no-augment", ["--no-augment"]),
        ('{fold = "1/5"}', "fold=1of5", ["--fold", "1/5"]),
        ("{widths = [8, 16]}", "widths=8-16", ["--widths", "8", "16"]),
        ('{auxiliary = "a/b"}', "auxiliary=a%2Fb", ["--auxiliary", "a/b"]),
    ],
)
def test_options_name_the_folder_and_reach_the_training(grid, options, folder, arguments):
    path = grid(f'[[grid]]\ndataset = ["drive"]\noptions = [{options}]\nseed = [7]\n')
    [one] = read_grid(path).runs
    assert one.folder(Path("out")) == Path("out", "drive", "rsan", "paper", folder, "seed-7")
    always = ["--model", "rsan", "--recipe", "paper", "--seed", "7"]
    assert one.training() == [*always, *arguments]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("title = ", "mine.toml: Invalid value"),
        ("", r"mine.toml: there must be at least one table \[\[grid\]\]"),
        ("grid = [1]", r"at least one table \[\[grid\]\]"),
        ("titel = 'x'", "mine.toml: unknown entry titel; known are about, grid, title"),
        ("title = 3", "title must be text, got 3"),
        ("[[grid]]\n", "grid 1: dataset must be a list with at least 1 entry, got nothing"),
        ("[[grid]]\ndataset = 'drive'", "dataset must be a list .* got 'drive'"),
        ("[[grid]]\ndataset = []", r"dataset must be a list .* got \[\]"),
        ("[[grid]]\ndataset = ['csv']", "of drive, chase_db1, stare, hrf, folder, got 'csv'"),
        ("GRIDleave_one_out = ['stare']", "there must be either dataset or leave_one_out"),
        ("[[grid]]\nleave_one_out = ['stare']", r"of at least 2 data sets, got \['stare'\]"),
        ("[[grid]]\nleave_one_out = ['hrf', 'hrf']", "of at least 2 data sets, got .'hrf', 'hrf'"),
        ("[[grid]]\nleave_one_out = ['hrf', 'x']", "must be one of drive.*, got 'x'"),
        (
            "[[grid]]\nleave_one_out = ['hrf', 'drive']\noptions = [{fold = '1/2'}]",
            "fold is not possible with leave_one_out",
        ),
        (
            "[[grid]]\nleave_one_out = ['hrf', 'drive']\noptions = [{pretrained = 'drive'}]",
            "pretrained is not possible with leave_one_out",
        ),
        ("GRID[[grid]]\ndataset = ['drive']\nmodel = ['vnet']", "grid 2: model must .* got 'vnet'"),
        ("GRIDrecipe = ['best']", "recipe must be one of paper, crops, cameras, got 'best'"),
        (
            "GRIDseeds = [0]",
            "unknown entry seeds; known are dataset, leave_one_out, model, options",
        ),
        ("GRIDseed = [true]", "seed must be a whole number of at least 0, got True"),
        ("GRIDseed = [-1]", "seed must be a whole number of at least 0, got -1"),
        ("GRIDoptions = ['p']", r"options must be tables like {p = 0.1}, got 'p'"),
        ("GRIDoptions = [{block_size = 3}]", "train has no option block_size; it has .*block-size"),
        ("GRIDoptions = [{p = 'high'}]", "train cannot take p = 'high'"),
        ("GRIDoptions = [{p = true}]", "train cannot take p = True"),
        ("GRIDoptions = [{augment = 1}]", "train cannot take augment = 1"),
        ("GRIDoptions = [{scale = 'none'}]", "train cannot take scale = 'none'"),
        ("GRIDoptions = [{fold = 1}]", "train cannot take fold = 1"),
        ("GRIDoptions = [{auxiliary = {a = 1}}]", "train cannot take auxiliary = {'a': 1}"),
        *(
            (f"GRIDoptions = [{{{name} = 1}}]", f"options may not hold {name}")
            for name in ("seed", "model", "recipe", "dataset", "data", "out", "resume", "max-time")
        ),
    ],
)
def test_what_is_wrong_in_a_grid_is_one_line(grid, text, message, capsys):
    path = grid(text.replace("GRID", "[[grid]]\ndataset = ['drive']\n"))
    with pytest.raises(ValueError, match=message) as error:
        read_grid(path)
    assert str(error.value).startswith(f"{path}: ")
    assert "\n" not in str(error.value)
    assert capsys.readouterr() == ("", "")


def test_a_bad_name_lists_the_shipped_grids():
    with pytest.raises(
        FileNotFoundError,
        match=r"nowhere: .*ablations, attention, cameras, cross_validation, paper_tables",
    ):
        read_grid("nowhere")


def test_the_shipped_grids():
    paper = read_grid("paper_tables").runs
    models = ("backbone", "backbone_dropblock", "rsan", "unet")
    assert set(paper) == {
        run(dataset, model, seed=seed)
        for dataset in ("drive", "chase_db1")
        for model in models
        for seed in range(3)
    }
    changes = [{}, {"gamma": "exact"}, {"scale": "constant"}, {"scale": "position"}]
    changes += [{"block_size": size} for size in (3, 5, 9)]
    changes += [{"p": p} for p in (0.05, 0.1, 0.2)] + [{"attention_after": True}]
    ablations = read_grid("ablations").runs
    assert ablations == [run("drive", seed=s, **c) for c in changes for s in range(3)]
    names = ("channel", "cbam", "se", "eca", "scse", "gc", "coord", "triplet", "bam", "simam")
    others = [{}, *({"attention": name} for name in names)]
    attention = [run("drive", seed=s, **c) for c in others for s in range(3)]
    without = [run("drive", "backbone_dropblock", seed=s) for s in range(3)]
    assert read_grid("attention").runs == attention + without
    folds = read_grid("cross_validation")
    assert folds.about == "The only way a recipe is chosen: no test image is read."
    assert folds.runs == [
        run("drive", recipe=recipe, fold=f"{n}/5", **options)
        for recipe, options in (("paper", {}), ("crops", {}), ("paper", {"augment": True}))
        for n in range(1, 6)
    ]


def test_a_set_is_left_out_and_the_others_trained_on(grid):
    *_, runs = read_grid("cameras")
    sets = ["drive", "chase_db1", "stare", "hrf"]
    assert [(one.dataset, *one.trained_on) for one in runs] == [
        (name, *(other for other in sets if other != name)) for name in sets for _ in range(2)
    ]
    assert [one.recipe for one in runs] == ["crops", "cameras"] * 4
    assert {one.images for one in runs} == {"all images, never seen"}
    assert len({one.system for one in runs}) == 2
    assert runs[0].folder(Path("out")) == Path(
        "out/drive/rsan/crops/trained-on=chase_db1-stare-hrf,fov-diameter=535.0/seed-0"
    )


@pytest.mark.parametrize("page", ["commands.md", "results.md"])
def test_the_grids_in_the_documentation_can_be_read(grid, page):
    text = (Path(__file__).parents[2] / "docs" / page).read_text(encoding="utf-8")
    [written] = re.findall(r"```toml\n(.*?)```", text, re.DOTALL)
    assert read_grid(grid(written)).runs


def test_reading_a_grid_loads_no_torch():
    code = """
import sys
from torchattn_blocks.retina.studies.grid import read_grid
assert read_grid("ablations").runs
assert "torch" not in sys.modules
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")


# Runs.


def write_report(path, f1=0.8, **scores):
    """A report in which all scores are alike but those given."""
    scores = dict.fromkeys(SCORES, f1) | scores
    pooled = {name: score for name, score in scores.items() if name != "clDice"}
    view = ViewScores(pooled, {"clDice": Spread(scores["clDice"], 0.0)})
    path.parent.mkdir(parents=True, exist_ok=True)
    Evaluation(("01",), SystemScores(0.5, view, view)).save(path)


def finish(out, one, **scores):
    for evaluation in EVALUATIONS:
        write_report(one.report(out, evaluation), **scores)


class Programs:
    """Stands for `subprocess.Popen`: programs that end at once, fail, or last until killed."""

    def __init__(self):
        self.calls, self.environments = [], []
        self.fails = self.lasts = lambda words: False
        self.running = self.most = self.killed = 0
        self.lock = threading.Lock()

    def __call__(self, command, *, stdout, env, **_):
        assert command[:3] == [sys.executable, "-m", "torchattn_blocks.retina"]
        with self.lock:
            self.calls.append(command[3:])
            self.environments.append(env)
            self.running += 1
            self.most = max(self.most, self.running)
        return Program(self, command[3:], stdout)

    def of(self, name):
        return [words for words in self.calls if words[0] == name]


class Program:
    def __init__(self, programs, words, log):
        self.programs, self.words, self.log = programs, words, log
        self.out = Path(words[words.index("--out") + 1])
        self.looks = 3  # until it ends
        self.returncode = None

    def poll(self):
        if self.returncode is None and not self.programs.lasts(self.words):
            self.looks -= 1
            if not self.looks:
                self.end()
        return self.returncode

    def end(self):
        self.programs.running -= 1
        self.returncode = int(self.programs.fails(self.words))
        if self.returncode:
            return
        if self.words[0] == "evaluate":
            write_report(self.out / "report.json")
        else:
            train(self.out, STEPS)

    def kill(self):
        if self.returncode is None:
            self.programs.killed += 1
            self.programs.running -= 1
            self.returncode = -9
            if self.words[0] == "train":
                train(self.out, 1)

    def wait(self):
        return self.returncode


def train(folder, step):
    """The state of a training after a step, its files in the order of a training and whole.

    The study looks at them from another thread.
    """
    write_whole(folder / "run.json", json.dumps({"recipe": {"steps": STEPS}}).encode())
    write_whole(folder / f"checkpoint-{step}.pt", b"")
    log = f"step,training_loss,validation_loss\n{step},1,1\n"
    write_whole(folder / "log.csv", log.encode())


@pytest.fixture
def programs(monkeypatch):
    fake = Programs()
    monkeypatch.setattr(running.subprocess, "Popen", fake)
    monkeypatch.setattr(running, "_POLL", 0.001)
    return fake


def run_all(runs, out, **options):
    data = {"drive": Path("a"), "folder": Path("b")}
    return running.run_study(runs, data, out, **options)


def test_a_run_is_trained_and_scored_in_all_ways(programs, tmp_path):
    one = run(recipe="crops", seed=4, fold="1/5", p=0.1)
    assert run_all([one], tmp_path) == []
    folder = one.folder(tmp_path)
    data, fold = ["--data", "b", "--dataset", "folder"], ["--fold", "1/5"]
    [training] = programs.of("train")
    always = ["--model", "rsan", "--recipe", "crops", "--seed", "4"]
    assert training == ["train", *data, *always, *fold, "--p", "0.1", "--out", str(folder)]
    scores = programs.of("evaluate")
    assert [words[6] for words in scores] == [
        str(folder / f"{weights}.safetensors") for weights in ("last", "last", "best", "best")
    ]
    assert ["--flips" in words for words in scores] == [False, True] * 2
    for name, words in zip(EVALUATIONS, scores, strict=True):
        assert words[:5] == ["evaluate", *data]
        assert words[-5:] == [*fold, "--no-pictures", "--out", str(folder / name)]
        assert "--p" not in words
    assert one.is_finished(tmp_path)


def test_a_set_that_was_left_out_is_scored_with_all_its_images(programs, tmp_path):
    one = run("folder")._replace(trained_on=("drive", "chase_db1"))
    data = {"drive": Path("a"), "chase_db1": Path("b"), "folder": Path("c")}
    assert running.run_study([one], data, tmp_path) == []
    [training] = programs.of("train")
    assert training[:7] == ["train", "--data", "a", "b", "--dataset", "drive", "chase_db1"]
    for words in programs.of("evaluate"):
        assert words[:5] == ["evaluate", "--data", "c", "--dataset", "folder"]
        assert words[words.index("--part") + 1] == "all"


def test_the_fold_is_for_cross_validation_only(programs, tmp_path):
    run_all([run()], tmp_path)
    assert not [words for words in programs.calls if "--fold" in words]


def test_runs_go_by_seed_and_fold(programs, tmp_path):
    runs = [run(seed=s, p=p, fold=f) for p in (0.1, 0.2) for s in (0, 1) for f in ("1/5", "2/5")]
    run_all(runs, tmp_path)
    found = [
        [words[words.index(f"--{n}") + 1] for n in ("seed", "fold", "p")]
        for words in programs.of("train")
    ]
    assert found == [[s, f, p] for s in "01" for f in ("1/5", "2/5") for p in ("0.1", "0.2")]


@pytest.mark.usefixtures("programs")
def test_the_progress_bar_counts_runs(tmp_path, capsys):
    run_all([run(), run(seed=1)], tmp_path)
    bar = capsys.readouterr().err
    assert "2/2 [" in bar
    assert re.search(r"run/s|s/run", bar)


def test_only_a_run_that_exists_is_resumed(programs, tmp_path):
    begun = run(seed=1)
    begun.folder(tmp_path).mkdir(parents=True)
    train(begun.folder(tmp_path), 1)
    run_all([run(), begun], tmp_path)
    assert ["--resume" in words for words in programs.of("train")] == [False, True]


def test_of_a_trained_run_only_missing_reports_are_made(programs, tmp_path):
    one = run()
    one.folder(tmp_path).mkdir(parents=True)
    train(one.folder(tmp_path), STEPS)
    for evaluation in ("last", "best"):
        write_report(one.report(tmp_path, evaluation), f1=0.1)
    assert not one.is_finished(tmp_path)
    run_all([one], tmp_path)
    assert [Path(words[-1]).name for words in programs.calls] == ["last-flips", "best-flips"]


@pytest.mark.parametrize("jobs", [1, 3])
def test_so_many_run_at_a_time_and_share_the_cores(programs, tmp_path, monkeypatch, jobs):
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    monkeypatch.setattr(os, "cpu_count", lambda: 6)
    programs.lasts = lambda words: programs.most < jobs  # not done before the others begin
    run_all([run(seed=n) for n in range(6)], tmp_path, jobs=jobs, max_time=60)
    assert programs.most == jobs
    assert not programs.killed
    threads = {env.get("OMP_NUM_THREADS") for env in programs.environments}
    assert threads == ({"2"} if jobs == 3 else {None})
    assert {env["OMP_WAIT_POLICY"] for env in programs.environments} == {"passive"}


def test_a_failing_run_is_named_and_the_others_done(programs, tmp_path):
    programs.fails = lambda words: words[0] == "train" and "unet" in words
    bad, good = run(model="unet"), run()
    [message] = run_all([bad, good], tmp_path)
    log = bad.folder(tmp_path) / "log.txt"
    assert log.is_file()
    assert message == f"{log}: train ended with exit status 1"
    assert good.is_finished(tmp_path)
    assert not bad.is_finished(tmp_path)


def test_a_damaged_record_fails_its_run_alone(programs, tmp_path):
    bad, good = run(), run(seed=1)
    bad.folder(tmp_path).mkdir(parents=True)
    train(bad.folder(tmp_path), 1)
    (bad.folder(tmp_path) / "run.json").write_text("{")
    [message] = run_all([bad, good], tmp_path)
    assert "run.json: this record of a run is damaged" in message
    assert good.is_finished(tmp_path)


def test_a_study_ends_with_its_time_and_goes_on(programs, tmp_path):
    programs.lasts = lambda words: (
        "1" in words[words.index("--seed") + 1] if words[0] == "train" else False
    )
    runs = [run(seed=n) for n in range(3)]
    assert run_all(runs, tmp_path, max_time=0.5) == []
    assert [one.is_finished(tmp_path) for one in runs] == [True, False, False]
    assert (programs.killed, len(programs.of("train"))) == (1, 2)
    for words in programs.of("train"):
        assert words[words.index("--max-time") + 1] == "0"
    programs.lasts = lambda words: False
    programs.calls.clear()
    assert run_all(runs[1:], tmp_path) == []
    assert ["--resume" in words for words in programs.of("train")] == [True, False]
    assert "--max-time" not in programs.of("train")[0]
    assert all(one.is_finished(tmp_path) for one in runs)


def test_the_time_of_a_training_is_in_whole_seconds(programs, tmp_path):
    run_all([run()], tmp_path, max_time=100 * 3600)
    [words] = programs.of("train")
    assert words[words.index("--max-time") + 1] in {"359998", "359999"}


def test_an_interrupt_kills_what_runs_and_starts_nothing_more(programs, tmp_path, monkeypatch):
    programs.lasts = lambda words: True

    def interrupted(*_, **__):
        while not programs.running:
            pass
        raise KeyboardInterrupt

    monkeypatch.setattr("torchattn_blocks.retina.workers.tasks.wait", interrupted)
    with pytest.raises(KeyboardInterrupt):
        run_all([run(seed=n) for n in range(3)], tmp_path)
    assert (programs.running, programs.killed, len(programs.calls)) == (0, 1, 1)


def test_jobs_must_be_positive(tmp_path):
    with pytest.raises(ValueError, match="jobs must be at least 1, got 0"):
        run_all([run()], tmp_path, jobs=0)


# The command.

SMALL = """
    [[grid]]
    dataset = ["folder"]
    model = ["backbone"]
    options = [{widths = [4, 8], epochs = 3, precision = "no"}]
    seed = [0, 1]
"""


@pytest.fixture
def one_evaluation():
    """Each costs the start of a program. Afterwards all are there again, in their order."""
    whole = dict(EVALUATIONS)
    for name in ("last-flips", "best", "best-flips"):
        del EVALUATIONS[name]
    yield
    EVALUATIONS.clear()
    EVALUATIONS.update(whole)


@pytest.mark.usefixtures("one_evaluation")
def test_a_study_trains_scores_and_tabulates(command, images, grid, tmp_path):
    study = ["study", grid(SMALL), "--folder", images, "--out", tmp_path / "out", "--jobs", 2]
    assert command(*study, "--max-time", "0:00:00") == "No run has scores yet.\n"
    out = command(*study)
    assert (tmp_path / "out" / "tables.md").read_text() + "\n" == out
    assert (tmp_path / "out" / "tables.csv").is_file()
    assert (tmp_path / "out" / "scores.png").is_file()
    reports = [one.report(tmp_path / "out", "last") for one in read_grid(study[1]).runs]
    scores = [json.loads(path.read_text())["whole"]["pooled"]["AUC"] for path in reports]
    assert scores[0] != scores[1]
    row = next(line for line in out.splitlines() if "2 of 2 seeds" in line)
    assert "backbone, paper, epochs=3,precision=no,widths=4-8, last" in row
    cell = row.split("|")[7].replace("±", " ").split()  # AUC
    assert float(cell[0]) == pytest.approx(np.mean(scores), abs=6e-5)
    assert float(cell[1]) == pytest.approx(np.std(scores, ddof=1), abs=6e-5)
    times = [path.stat().st_mtime_ns for path in reports]
    assert command(*study) == out
    assert [path.stat().st_mtime_ns for path in reports] == times


def test_what_another_machine_finished_counts_and_is_not_repeated(
    programs, command, grid, tmp_path
):
    finish(tmp_path / "there", run(model="backbone", **SLUG), f1=0.7)
    shutil.copytree(tmp_path / "there", tmp_path / "here")
    (tmp_path / "data").mkdir()
    out = command("study", grid(SMALL), "--folder", tmp_path / "data", "--out", tmp_path / "here")
    [words] = programs.of("train")
    assert words[words.index("--seed") + 1] == "1"
    assert "2 of 2 seeds | .7500 ± .0707" in out


SLUG = {"widths": (4, 8), "epochs": 3, "precision": "no"}


def test_data_sets_without_folder_are_left_out_but_tabulated(programs, command, grid, tmp_path):
    path = grid("[[grid]]\ndataset = ['chase_db1', 'drive', 'folder']\nseed = [0, 1]")
    finish(tmp_path, run("chase_db1"))
    (tmp_path / "data").mkdir()
    out = command("study", path, "--folder", tmp_path / "data", "--out", tmp_path)
    assert out.splitlines()[:2] == [
        "1 run on chase_db1 left out: pass --chase-db1",
        "2 runs on drive left out: pass --drive",
    ]
    assert len(programs.of("train")) == 2
    assert re.search(r"chase_db1, test images, whole[^#]*last +\| 1 of 2 seeds \| \.8000 \|", out)
    assert re.search(r"drive, test images, whole[^#]*, last +\| 0 of 2 seeds \| +– \|", out)
    assert re.search(r"folder, test images, whole[^#]*, last +\| 2 of 2 seeds \| \.8000 ± ", out)


def test_without_a_set_the_runs_that_train_on_it_are_left_out(programs, command, grid, tmp_path):
    path = grid("[[grid]]\nleave_one_out = ['stare', 'folder', 'hrf']\n"
                "[[grid]]\ndataset = ['folder']")  # fmt: skip
    (tmp_path / "data").mkdir()
    out = command("study", path, "--folder", tmp_path / "data", "--out", tmp_path)
    assert out.splitlines()[:2] == [
        "3 runs on hrf left out: pass --hrf",
        "3 runs on stare left out: pass --stare",
    ]
    assert len(programs.of("train")) == 1


def test_failures_are_told_after_the_tables(programs, command, grid, tmp_path):
    programs.fails = lambda words: words[0] == "evaluate"
    (tmp_path / "data").mkdir()
    finish(tmp_path, run(model="backbone", seed=1, **SLUG))
    with pytest.raises(
        SystemExit, match=r"error: these runs failed:\n.*: evaluate ended with exit"
    ):
        command("study", grid(SMALL), "--folder", tmp_path / "data", "--out", tmp_path)
    assert "1 of 2 seeds" in (tmp_path / "tables.md").read_text()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["nowhere"], "nowhere: no such grid"),
        (["ablations", "--drive", "nowhere"], "nowhere: this folder does not exist"),
        (["ablations", "--jobs", "0"], "jobs must be at least 1, got 0"),
        (["ablations", "--max-time", "9 min"], "hours:minutes:seconds"),
    ],
)
@pytest.mark.usefixtures("programs")
def test_what_is_wrong_in_the_command_is_one_error(command, tmp_path, arguments, message):
    with pytest.raises(SystemExit, match=f"error: {message}|error: .*{message}"):
        command("study", *arguments, "--out", tmp_path)
    assert list(tmp_path.iterdir()) == []


# Tables and figure.

TWO = """
    title = "Two"
    about = "Numbers by hand."
    [[grid]]
    dataset = ["drive"]
    model = ["backbone", "unet"]
    seed = [0, 1, 2]
"""


@pytest.fixture
def tables(command, grid, tmp_path):
    """Tabulate a grid of which some runs are scored: cells by heading and title of the row."""

    def make(text, scored):
        for one, scores in scored:
            finish(tmp_path, one, **scores)
        command("study", grid(text), "--out", tmp_path)
        heading, found = "", {}
        for line in (tmp_path / "tables.md").read_text().splitlines():
            cells = [cell.strip() for cell in line.strip("|").split("|")]
            if line.startswith("|"):
                found.setdefault(heading, {})[cells[0]] = cells[1:]
            elif line.startswith(("## ", "Differences")):
                heading = line if line.startswith("#") else f"{heading.partition(' /')[0]} / {line}"
        return found

    return make


WHOLE, FOV = "## drive, test images, whole image", "## drive, test images, field of view"
DIFFERENCES = (
    " / Differences from backbone, paper, default, over the seeds and folds that both have:"
)


def test_tables_hold_means_spreads_and_counts(tables):
    scored = [
        (run("drive", "backbone", seed=n), {"f1": f, "AUC": 0.9}) for n, f in ((0, 0.7), (2, 0.72))
    ]
    found = tables(TWO, [*scored, (run("drive", "unet"), {"f1": 0.65, "AUC": None})])
    for view in (WHOLE, FOV):
        assert found[view]["system"] == ["runs", *SCORES]
        for evaluation in EVALUATIONS:
            # The sample standard deviation of .70 and .72 is .02 / sqrt(2).
            two = found[view][f"backbone, paper, default, {evaluation}"]
            assert two[:2] == ["2 of 3 seeds", ".7100 ± .0141"]
            assert two[5] == ".9000 ± .0000"
            one = found[view][f"unet, paper, default, {evaluation}"]
            assert (one[0], one[3], one[5]) == ("1 of 3 seeds", ".6500", "–")
            assert one[5] == "–"  # an AUC that is not defined


def test_a_score_that_one_seed_lacks_has_no_mean(tables):
    scored = [(run("drive", "backbone", seed=n), {"AUC": a}) for n, a in ((0, None), (1, 0.9))]
    cells = tables(TWO, scored)[WHOLE]["backbone, paper, default, last"]
    assert (cells[0], cells[3], cells[5]) == ("2 of 3 seeds", ".8000 ± .0000", "–")


def test_a_system_without_scores_has_dashes(tables):
    found = tables(TWO, [(run("drive", "backbone"), {})])
    assert found[WHOLE]["unet, paper, default, best"] == ["0 of 3 seeds"] + ["–"] * len(SCORES)
    assert found[WHOLE + DIFFERENCES]["unet, paper, default, best"] == [
        "0 of 3 seeds",
        "–",
        "–",
        "–",
    ]


def test_the_papers_scores_stand_beside_ours_on_whole_images(tables, tmp_path):
    text = TWO.replace('"drive"', '"drive", "chase_db1", "folder"')
    found = tables(
        text.replace('"unet"', '"unet", "rsan", "backbone_dropblock"'), [(run("drive"), {})]
    )
    dash = ["–"] * 3
    assert found[WHOLE]["the paper's U-Net*"] == [
        "–",
        ".7537",
        ".9820",
        ".8142",
        ".9531",
        ".9755",
        *dash,
    ]
    rows = [title for title in found[WHOLE] if "paper's" in title]
    assert rows == [
        f"the paper's {name}" for name in ("Backbone", "U-Net*", "RSAN", "Backbone+DropBlock")
    ]
    chase = found[WHOLE.replace("drive", "chase_db1")]
    assert chase["the paper's RSAN"] == ["–", ".8486", ".9836", ".8111", ".9751", ".9894", *dash]
    others = [h for h in found if h not in {WHOLE, WHOLE.replace("drive", "chase_db1")}]
    assert not [title for heading in others for title in found[heading] if "paper's" in title]
    notes = [line for line in (tmp_path / "tables.md").read_text().splitlines() if "\\*" in line]
    assert notes == [
        "\\* Starred in the paper: taken from another paper; scored within the field of view.",
        "\\* Starred in the paper: taken from another paper.",
    ]


def test_only_networks_of_the_study_have_a_row_of_the_paper(tables, tmp_path):
    found = tables(TWO.replace(', "unet"', ""), [(run("drive", "backbone"), {})])
    assert [title for title in found[WHOLE] if "paper's" in title] == ["the paper's Backbone"]
    assert "\\*" not in (tmp_path / "tables.md").read_text()


def test_differences_are_over_the_seeds_that_both_have(tables):
    first = [(run("drive", "backbone", seed=n), {"f1": f}) for n, f in ((0, 0.7), (1, 0.72))]
    other = [(run("drive", "unet", seed=n), {"f1": f}) for n, f in ((0, 0.71), (1, 0.7), (2, 0.1))]
    found = tables(TWO, [*first, *other])
    for view in (WHOLE, FOV):
        rows = found[view + DIFFERENCES]
        assert rows["system"] == ["runs", "F1", "AUC", "clDice"]
        # .01 and -.02: mean -.005, sample standard deviation .03 / sqrt(2).
        assert rows["unet, paper, default, last"] == ["2 of 3 seeds", *["-.0050 ± .0212"] * 3]
        assert [*rows][2:] == [f"unet, paper, default, {evaluation}" for evaluation in EVALUATIONS]


def test_differences_count_the_seeds_that_both_have_in_the_grid(tables):
    text = '[[grid]]\ndataset = ["drive"]\nmodel = ["backbone"]\nseed = [5, 0]\n'
    text += '[[grid]]\ndataset = ["drive"]\nmodel = ["unet"]\nseed = [1, 5]\n'
    runs = [run("drive", model, seed=5) for model in ("backbone", "unet")]
    found = tables(text, [(runs[0], {"f1": 0.5}), (runs[1], {"f1": 0.75, "AUC": 0.49999})])
    rows = found[WHOLE + DIFFERENCES]
    assert rows["unet, paper, default, last"] == ["1 of 1 seed", "+.2500", "+.0000", "+.2500"]


FOLDS = """
    [[grid]]
    dataset = ["drive"]
    options = [
        {fold = "1/2"}, {fold = "2/2"}, {},
        {augment = true, fold = "1/2"}, {augment = true, fold = "2/2"},
    ]
    seed = SEEDS
"""


def test_sets_left_out_are_tabulated_each_and_together(tables):
    text = """
        [[grid]]
        leave_one_out = ["drive", "stare", "hrf"]
        recipe = ["crops", "cameras"]
    """

    def of(dataset, recipe):
        others = tuple(name for name in ("drive", "stare", "hrf") if name != dataset)
        return run(dataset, recipe=recipe)._replace(trained_on=others)

    scored = [
        (of("drive", "crops"), {"f1": 0.6}),
        (of("stare", "crops"), {"f1": 0.8}),
        (of("stare", "cameras"), {"f1": 0.83}),
    ]
    found = tables(text, scored)
    heading = "## {}, all images, never seen, whole image"
    single = found[heading.format("stare")]
    assert single["rsan, crops, default, last"][:2] == ["1 of 1 seed", ".8000"]
    assert not [title for title in single if "paper's" in title]
    together = heading.format("all data sets, each left out once")
    assert found[together]["rsan, crops, default, last"][:2] == ["2 of 3 sets", ".7000 ± .1414"]
    assert found[together]["rsan, cameras, default, last"][:2] == ["1 of 3 sets", ".8300"]
    differences = together + DIFFERENCES.replace("backbone, paper", "rsan, crops")
    assert found[differences]["rsan, cameras, default, last"] == ["1 of 3 sets", *["+.0300"] * 3]


def test_folds_are_one_system_and_apart_from_the_test_images(tables):
    scores = {"1/2": 0.6, "2/2": 0.8}
    scored = [(run("drive", fold=fold), {"f1": f1}) for fold, f1 in scores.items()]
    scored += [
        (run("drive", fold="2/2", augment=True), {"f1": 0.83}),
        (run("drive"), {"f1": 0.1}),
    ]
    found = tables(FOLDS.replace("SEEDS", "[0]"), scored)
    whole = "## drive, 2 folds, whole image"
    assert found[whole]["rsan, paper, default, last"][:2] == ["2 of 2 folds", ".7000 ± .1414"]
    assert found[whole]["rsan, paper, augment, last"][:2] == ["1 of 2 folds", ".8300"]
    assert not [title for title in found[whole] if "paper's" in title]
    rows = found[whole + DIFFERENCES.replace("backbone", "rsan")]
    assert rows["rsan, paper, augment, last"] == ["1 of 2 folds", *["+.0300"] * 3]
    assert found[WHOLE]["rsan, paper, default, last"][:2] == ["1 of 1 seed", ".1000"]
    assert "rsan, paper, augment, last" not in found[WHOLE]


def test_a_cross_validation_alone_has_no_table_of_the_test_images(tables):
    text = FOLDS.replace(" {},", "").replace("SEEDS", "[0]")
    found = tables(text, [(run("drive", fold="1/2"), {})])
    assert len(found) == 4  # two views, each with scores and differences
    assert not [heading for heading in found if "test images" in heading]


def test_folds_of_several_seeds_count_together(tables):
    scored = [(run("drive", fold="1/2", seed=n), {"f1": f}) for n, f in ((0, 0.6), (1, 0.7))]
    found = tables(FOLDS.replace("SEEDS", "[0, 1]"), scored)
    cells = found["## drive, 2 folds, whole image"]["rsan, paper, default, last"]
    assert cells[:2] == ["2 of 4 folds, 2 seeds", ".6500 ± .0707"]


def test_the_csv_file_holds_the_same_rows_in_full(tables, tmp_path):
    scored = [(run("drive", "backbone", seed=n), {"f1": f}) for n, f in ((0, 0.7), (1, 0.71))]
    tables(TWO, [*scored, (run("drive", "unet"), {"f1": 0.6512, "AUC": None})])
    rows = list(csv.DictReader(io.StringIO((tmp_path / "tables.csv").read_text())))
    key = ("view", "kind", "model", "options", "evaluation")
    found = {tuple(row[name] for name in key): row for row in rows}
    assert len(found) == len(rows) == 2 + 2 * 4 * 3  # the paper; views, evaluations, rows
    paper = found["whole", "paper", "unet", "default", "last"]
    assert (paper["n"], paper["SEN"], paper["MCC"]) == ("", "0.7537", "")
    ours = found["fov", "scores", "backbone", "default", "best"]
    assert (ours["n"], ours["of"], ours["F1"]) == ("2", "3", "0.705")
    assert float(ours["F1 std"]) == pytest.approx(0.01 / 2**0.5, rel=1e-5)
    other = found["whole", "difference", "unet", "default", "last"]
    assert (other["n"], other["of"], other["F1"], other["F1 std"]) == ("1", "3", "-0.0488", "")
    assert (other["AUC"], other["SEN"]) == ("", "")
    assert {row["images"] for row in rows} == {"test images"}


def test_a_damaged_report_is_named(command, grid, tmp_path):
    one = run("drive", "unet")
    finish(tmp_path, one)
    bare = ViewScores(dict.fromkeys(("F1", "AUC"), 0.8), {})
    Evaluation(("01",), SystemScores(0.5, bare, bare)).save(tmp_path / "bare.json")
    for content in ("{", "{}", "[]", (tmp_path / "bare.json").read_text()):
        one.report(tmp_path, "best").write_text(content)
        with pytest.raises(SystemExit, match=r"seed-0/best/report\.json: (not the|this) report"):
            command("study", grid(TWO), "--out", tmp_path)


def test_the_figure_shows_every_seed_the_mean_and_the_paper(tables, monkeypatch):
    figures = []
    monkeypatch.setattr(Figure, "savefig", lambda figure, *_, **__: figures.append(figure))
    scored = [
        (run("drive", "backbone", seed=n), {"f1": f, "AUC": f + 0.1})
        for n, f in ((0, 0.7), (2, 0.72))
    ]
    text = TWO.replace('["drive"]', '["drive", "folder"]').replace(
        "seed", "options = [{}, {p = 0.1}]\nseed"
    )
    tables(text, scored)
    [figure] = figures
    f1, auc, _, folder_auc = figure.axes
    assert [axes.get_xlabel() for axes in figure.axes] == ["F1", "AUC"] * 2
    assert f1.get_title() == "drive, test images, paper"
    labels = [label.get_text() for label in f1.get_yticklabels()]
    counts = [2, 0, 0, 0]
    names = [f"{model}, {o}" for model in ("backbone", "unet") for o in ("default", "p=0.1")]
    assert labels == [f"{name}\n{n} of 3 seeds" for name, n in zip(names, counts, strict=True)]
    for axes, more, theirs in ((f1, 0, (0.7985, 0.8142)), (auc, 0.1, (0.9762, 0.9755))):
        lines = {}
        for line in axes.lines:
            lines.setdefault(line.get_label().split(" (")[0], []).append(line)
        assert lines["a seed or fold"][0].get_xdata() == pytest.approx([0.7 + more, 0.72 + more])
        mean = lines["mean"][0]
        assert [*mean.get_xdata(), *mean.get_ydata()] == pytest.approx([0.71 + more, 0])
        paper = [(*line.get_xdata(), *line.get_ydata()) for line in lines["the paper"]]
        assert paper == [(theirs[0], 0), (theirs[1], 2)]  # not beside p = 0.1
        assert [text.get_text() for text in axes.texts] == ["*"]  # of the U-Net
    assert "the paper" not in str([line.get_label() for line in folder_auc.lines])
