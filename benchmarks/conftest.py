"""Record what a result depends on beside the code: versions, threads, the machine."""

import peers
import torch

# Fixed, so that results of machines with more cores can be compared. Recorded with each result.
THREADS = 2


def pytest_configure(config):
    torch.set_num_threads(THREADS)


def pytest_report_header(config):
    found = [f"{name} {version}" for name, version in peers.versions().items()]
    return [f"{THREADS} threads, " + ", ".join(found), *peers.missing()]


def pytest_benchmark_update_machine_info(config, machine_info):
    machine_info["threads"] = torch.get_num_threads()
    machine_info["versions"] = peers.versions()
    machine_info["missing"] = peers.missing()
