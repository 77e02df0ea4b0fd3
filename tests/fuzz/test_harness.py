"""The harness names what comes out of a case, whatever that is."""

import os
import signal
import sys
import time

import numpy as np
import pandas as pd
import pytest
from hypothesis import strategies as st

from aam_core.errors import InputError
from tests.fuzz import harness
from tests.fuzz.harness import Limits, Target, Worker, fuzz


def behave(how):
    """What a faulty reader may do."""
    if how == "refuse":
        raise InputError("'x' is no number.")
    if how == "fail":
        return [][3]
    if how == "wait":
        time.sleep(60)
    if how == "die":
        os.kill(os.getpid(), signal.SIGSEGV)
    if how == "leave":
        raise SystemExit(3)
    if how == "grow":
        return np.ones(1 << 29)
    if how == "divide":
        return {"rows": [pd.DataFrame({"id": ["a", "b"], "value": [1.0, np.nan]})]}
    return os.getpid()


@pytest.fixture(scope="module")
def worker():
    with Worker(behave, limits=Limits(seconds=3, memory=1 << 30)) as worker:
        yield worker


@pytest.mark.parametrize(
    ("how", "kind", "text"),
    [
        ("refuse", harness.REFUSED, "'x' is no number."),
        ("fail", harness.FOREIGN, "IndexError: list index out of range"),
        ("leave", harness.FOREIGN, "SystemExit: 3"),
        ("die", harness.KILLED, "exit code -11"),
        pytest.param(
            *("grow", harness.MEMORY, "Unable to allocate 4.00 GiB"),
            marks=pytest.mark.skipif(sys.platform != "linux", reason="has no limit"),
        ),
        ("divide", harness.NOT_FINITE, "result.rows[0]: 1 of 2"),
    ],
)
def test_what_comes_out_is_named(worker, how, kind, text):
    outcome = worker(how)
    assert outcome.kind == kind
    assert text in outcome.text


def test_a_case_ends_in_time_and_the_next_one_is_tried(worker):
    worker("work")  # the process is there
    with Worker(behave, limits=Limits(seconds=0.2)) as impatient:
        assert impatient("wait").kind == harness.TIME_OUT
        assert impatient("work").kind == harness.OK


def test_cases_share_a_process_until_one_ends_it(worker):
    first, second = worker("work").value, worker("work").value
    assert first == second != os.getpid()
    worker("die")
    assert worker("work").value not in (first, os.getpid())


def write(case, folder):
    (folder / "number").write_text(str(case))


def read(folder):
    number = int((folder / "number").read_text())
    if number > 90_000:
        raise ZeroDivisionError(number)
    if number > 50_000:
        raise InputError("too large")
    return number


def test_a_seed_gives_the_same_cases_and_failures_are_kept(tmp_path):
    target = Target("numbers", st.integers(0, 99_999), write, read)
    first = fuzz(target, tmp_path / "work", 1, 60, keep=tmp_path / "kept")
    again = fuzz(target, tmp_path / "work", 1, 60)
    other = fuzz(target, tmp_path / "work", 2, 60)
    assert first.failures == again.failures != other.failures
    assert first.counts == again.counts
    assert first.counts.total() == 60
    assert set(first.counts) == {harness.OK, harness.REFUSED, harness.FOREIGN}
    kept = sorted((tmp_path / "kept").iterdir())
    assert len(kept) == first.counts[harness.FOREIGN]
    text = (kept[0] / "outcome.txt").read_text()
    assert "ZeroDivisionError" in text
    assert int((kept[0] / "number").read_text()) > 90_000
    assert "60 cases" in str(first)


def test_no_case_is_begun_after_the_time(tmp_path):
    target = Target("numbers", st.integers(0, 9), write, read)
    assert not fuzz(target, tmp_path, 1, 10, seconds=0).counts
