"""Docstrings: their examples can be pasted, and they explain every argument."""

import doctest
import importlib
import inspect
import json
import pkgutil
import re
from pathlib import Path

import pytest

import torchattn_blocks

MODULES = [
    info.name
    for info in pkgutil.walk_packages(torchattn_blocks.__path__, "torchattn_blocks.")
    if not info.name.endswith(("__main__", "_paint_triton"))  # this one needs Triton
]
EXAMPLES = [
    example
    for module in MODULES
    # In an empty namespace: what an example uses, it must import.
    for example in doctest.DocTestFinder(exclude_empty=True).find(
        importlib.import_module(module), globs={}
    )
    if example.examples
]
PACKAGES = json.loads(Path(__file__).with_name("public_names.json").read_text())
PUBLIC = {
    f"{package}.{name}": getattr(importlib.import_module(package), name)
    for package in PACKAGES
    for name in importlib.import_module(package).__all__
}
EXPLAINED = {name: value for name, value in PUBLIC.items() if callable(value)}
LIKE = re.compile("Takes the arguments of `(rsan|drop_block2d|DropBlock2d|insert_after)`")


@pytest.mark.parametrize("example", EXAMPLES, ids=lambda example: example.name)
def test_example(example):
    report = []
    doctest.DocTestRunner(verbose=False).run(example, out=report.append)
    assert "".join(report) == ""


@pytest.mark.parametrize("name", EXPLAINED)
def test_a_public_name_is_explained(name):
    public = EXPLAINED[name]
    text = inspect.getdoc(public)
    section = "Attributes" if hasattr(public, "__match_args__") else "Args"
    described = re.findall(r"^    (\w+): ", text.partition(f"{section}:\n")[2], re.MULTILINE)
    parameters = list(inspect.signature(public).parameters)
    assert described[: len(parameters)] == parameters or LIKE.search(text)
    assert re.search(rf">>> .*\b{name.rpartition('.')[2]}\b", text)
