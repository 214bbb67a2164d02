"""Record what a result depends on beside the code: versions, threads, the machine."""

import libraries
import pytest
import torch

ITEMS = pytest.StashKey[list[pytest.Item]]()


def pytest_addoption(parser):
    # Not the number of cores, so that the results of different machines can be compared.
    parser.addoption("--threads", type=int, default=2, help="torch's threads (default: 2)")
    parser.addoption("--device", default="cpu", help="where to measure, for example cuda")


def pytest_configure(config):
    torch.set_num_threads(config.getoption("--threads"))


@pytest.fixture(autouse=True)
def _device(request):
    """Make tensors, of tests and of libraries alike, where they are to be measured."""
    with torch.device(request.config.getoption("--device")):
        yield


def contenders(config):
    """Those of the files that run."""
    modules = {item.module for item in config.stash[ITEMS]}
    return [contender for module in modules for contender in module.CONTENDERS]


def pytest_report_collectionfinish(config, items):
    config.stash[ITEMS] = list(items)
    found = [f"{name} {v}" for name, v in libraries.versions(contenders(config)).items()]
    threads = f"{torch.get_num_threads()} threads, "
    return [threads + ", ".join(found), *libraries.missing(contenders(config))]


def pytest_benchmark_update_machine_info(config, machine_info):
    machine_info["threads"] = torch.get_num_threads()
    on_gpu = config.getoption("--device") != "cpu"
    machine_info["gpu"] = torch.cuda.get_device_name() if on_gpu else ""
    machine_info["versions"] = libraries.versions(contenders(config))
    machine_info["missing"] = libraries.missing(contenders(config))


def pytest_benchmark_update_json(config, output_json):
    """What could not be measured, as the tests tell it."""
    told = [told for item in config.stash[ITEMS] for told in item.user_properties]
    output_json["failures"] = [failure for name, failure in told if name == "failure"]
