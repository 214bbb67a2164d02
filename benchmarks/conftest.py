"""Record what a result depends on beside the code: versions, threads, the machine."""

import peers
import pytest
import torch


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


def pytest_report_header(config):
    found = [f"{name} {version}" for name, version in peers.versions().items()]
    return [f"{torch.get_num_threads()} threads, " + ", ".join(found), *peers.missing()]


def pytest_benchmark_update_machine_info(config, machine_info):
    machine_info["threads"] = torch.get_num_threads()
    on_gpu = config.getoption("--device") != "cpu"
    machine_info["gpu"] = torch.cuda.get_device_name() if on_gpu else ""
    machine_info["versions"] = peers.versions()
    machine_info["missing"] = peers.missing()
