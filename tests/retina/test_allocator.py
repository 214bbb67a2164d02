"""What `train` asks of glibc and of torch's allocator."""

import ctypes
import os
import platform
import subprocess
import sys

import pytest

from torchattn_blocks.retina.allocator import _HUGE_PAGES, _VARIABLE

PAGES = """
import mmap, sys, torch
if sys.argv[1] == "train":
    import accelerate, torchattn_blocks.retina.training.loop  # make no tensor
from torchattn_blocks.retina import keep_freed_memory
print(keep_freed_memory())
tensors = [torch.empty(2**19 + 1) for _ in range(8)]
print(all(x.data_ptr() % mmap.PAGESIZE == 0 for x in tensors))
"""
BLOCKS = """
import ctypes
from torchattn_blocks.retina import keep_freed_memory
names = "arena ordblks smblks hblks hblkhd usmblks fsmblks uordblks fordblks keepcost".split()
class Mallinfo(ctypes.Structure):
    _fields_ = [(name, ctypes.c_size_t) for name in names]
libc = ctypes.CDLL(None)
libc.mallinfo2.restype = Mallinfo
counts = [libc.mallinfo2().ordblks]
for _ in range(2):
    keep_freed_memory()
    counts.append(libc.mallinfo2().ordblks)
print(*(after - before for before, after in zip(counts, counts[1:])))
"""

WITHOUT = """
import os, pathlib
from torchattn_blocks.retina import allocator
allocator._HUGE_PAGES = pathlib.Path("/nowhere")
print(allocator.keep_freed_memory(), allocator._VARIABLE in os.environ)
"""

on_glibc = pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="not glibc")
knows_huge_pages = pytest.mark.skipif(not _HUGE_PAGES.exists(), reason="Linux without huge pages")


def printed(code, *words, **environment):
    """What a new process prints."""
    given = {name: value for name, value in os.environ.items() if name != _VARIABLE} | environment
    command = [sys.executable, "-c", code, *words]
    done = subprocess.run(command, capture_output=True, text=True, check=True, env=given)
    assert "madvise" not in done.stderr  # torch's warning
    return done.stdout.split()


@on_glibc
@knows_huge_pages
def test_large_tensors_start_at_pages():
    assert printed(PAGES, "train") == ["True", "True"]


@on_glibc
def test_a_variable_of_torch_that_is_set_stays():
    assert printed(PAGES, "alone", **{_VARIABLE: "0"}) == ["True", "False"]


@on_glibc
def test_without_huge_pages_torch_is_not_asked():
    assert printed(WITHOUT) == ["True", "False"]


@on_glibc
@pytest.mark.skipif(not hasattr(ctypes.CDLL(None), "mallinfo2"), reason="glibc before 2.33")
def test_there_is_one_stock_of_free_blocks():
    first, second = map(int, printed(BLOCKS))
    assert first > 2000  # of 16 blocks of 256 sizes
    assert abs(second) < 100
