"""The memory of a process and of the machine that it runs on."""

import ctypes
import os
import subprocess
import sys
from pathlib import Path

import psutil
import pytest

from aam_core.runtime import process_memory

ROOT = Path(__file__).parents[3]

FREED = """
import numpy as np
from pathlib import Path
from aam_core.runtime.process_memory import keep_freed, return_freed

def now():
    return int(Path("/proc/self/statm").read_text().split()[1]) * 4096

keep_freed()
before = now()
large = np.ones(40_000_000)
del large
kept = now() - before
return_freed()
print(kept, now() - before)
"""


@pytest.mark.skipif(
    not hasattr(ctypes.CDLL(None), "mallopt"), reason="the C library is not glibc"
)
def test_freed_memory_is_kept_until_it_is_returned():
    done = subprocess.run(
        [sys.executable, "-c", FREED],
        env=os.environ | {"PYTHONPATH": str(ROOT)},
        check=True,
        capture_output=True,
    )
    kept, left = map(int, done.stdout.split())
    assert kept > 300e6
    assert left < 50e6


@pytest.mark.skipif(not process_memory.STATUS.exists(), reason="Linux only")
def test_peak_memory_is_not_that_of_the_parent():
    child = "from aam_core.runtime import process_memory as p; print(p.peak_resident())"
    parent = (
        "import subprocess, sys\n"
        "large = bytearray(400_000_000)\n"
        f"subprocess.run([sys.executable, '-c', {child!r}], cwd='.')"
    )
    done = subprocess.run(
        [sys.executable, "-c", parent],
        cwd=ROOT,
        env=os.environ | {"PYTHONPATH": str(ROOT)},
        check=True,
        capture_output=True,
    )
    assert 0 < int(done.stdout) < 300_000_000


# --- what a process could still occupy ---

FREE = 8_000_000_000


@pytest.fixture
def groups(tmp_path, monkeypatch):
    """Writes control groups; the machine has `FREE` bytes available."""

    class Memory:
        available = FREE

    monkeypatch.setattr(psutil, "virtual_memory", Memory)
    monkeypatch.setattr(process_memory, "GROUPS", tmp_path / "cgroup")
    monkeypatch.setattr(process_memory, "HIERARCHIES", tmp_path / "fs")

    def write(lines, **files):
        (tmp_path / "cgroup").write_text(lines)
        for path, text in files.items():
            path = tmp_path / "fs" / path
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text)

    return write


def limits(folder, limit, used, cached):
    """Files of a group of version 2."""
    return {
        f"{folder}/memory.max": f"{limit}\n",
        f"{folder}/memory.current": f"{used}\n",
        f"{folder}/memory.stat": f"anon 5\ninactive_file {cached}\n",
    }


def test_without_groups_all_that_the_machine_has(groups):
    assert process_memory.available() == FREE
    groups("0::/\n")
    assert process_memory.available() == FREE


def test_the_limit_of_a_batch_job(groups):
    """That of the job, which is less than that of the step; files can be dropped."""
    job, step = "slurm/job_7", "slurm/job_7/step_0"
    files = limits(job, 3_000_000_000, 1_200_000_000, 200_000_000)
    files |= limits(step, 5_000_000_000, 1_000_000_000, 0)
    groups(f"0::/{step}\n", **files)
    assert process_memory.available() == 2_000_000_000


def test_no_limit(groups):
    groups("0::/user\n", **limits("user", "max", 100, 0))
    assert process_memory.available() == FREE


def test_a_limit_between_groups_without_one(groups):
    files = limits("jobs", "max", 900, 0) | limits("jobs/7", 1000, 300, 0)
    files |= limits("jobs/7/step", "max", 200, 0)
    groups("1:name=other:/x\n0::/jobs/7/step\n", **files)
    assert process_memory.available() == 700


def test_nothing_is_left_of_a_limit(groups):
    groups("0::/user\n", **limits("user", 100, 150, 0))
    assert process_memory.available() == 0


def test_a_container_that_knows_its_group_from_outside(groups):
    """Version 1, whose mount shows the group itself as the root."""
    files = {
        "memory/memory.limit_in_bytes": "2000000000\n",
        "memory/memory.usage_in_bytes": "500000000\n",
        "memory/memory.stat": "cache 3\ntotal_inactive_file 100000000\n",
        "memory.max": "1\n",  # of another hierarchy
    }
    groups("5:cpu,cpuacct:/docker/a\n4:memory:/docker/a\n", **files)
    assert process_memory.available() == 1_600_000_000


@pytest.mark.skipif(not process_memory.GROUPS.exists(), reason="Linux only")
def test_this_machine():
    assert 0 < process_memory.available() <= psutil.virtual_memory().total
