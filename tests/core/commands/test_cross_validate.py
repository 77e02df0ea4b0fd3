"""Repeated folds for q2-aam and a forest: honest, resumable, and told."""

import contextlib
import dataclasses
import json
import os
import signal
import time
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pandas as pd
import pytest

from aam_core.commands import cross_validate as runs
from aam_core.commands import cross_validation_cells as cells
from aam_core.commands.cross_validate import cross_validate
from aam_core.commands.cross_validation_cells import planned
from aam_core.commands.rf_baseline import rf_baseline
from aam_core.config import CrossValidateConfig, ForestConfig, effort
from aam_core.data.confounding import choose_depth
from aam_core.data.folds import balanced_folds
from aam_core.data.subsets import drawn, nested
from aam_core.ensemble import trees
from aam_core.errors import InputError
from aam_core.reporting import progress, silent
from aam_core.training.stop import Interrupted, Interruption, StopRequest
from tests.runs import shared

SMALL = {"folds": 2, "repeats": 1, "effort": "quick", "device": "cpu"}


@pytest.fixture(scope="module", autouse=True)
def few_steps():
    """Networks of a few steps, and few trees."""
    patch = pytest.MonkeyPatch()
    patch.setitem(effort.STEPS, "quick", 6)
    patch.setattr(trees, "TREES", 10)
    yield
    patch.undo()


def run(made, cells=None, *, report=silent, task="regression", group=True, **options):
    """A cross-validation of a generated study."""
    column = "value" if task == "regression" else "kind"
    return cross_validate(
        CrossValidateConfig(**SMALL | options),
        task=task,
        column=column,
        metadata=made.metadata,
        group_column="subject" if group else None,
        cells=cells,
        report=report,
        **shared(made),
    )


def given_of(made, task="regression", group="subject", **options):
    """What the cells of a run read."""
    config = CrossValidateConfig(**SMALL | options)
    column = "value" if task == "regression" else "kind"
    reads = made.table, made.metadata, group, made.sequences, None, silent
    return runs._given(config, task, column, *reads)


def faked(cell, given, hours=None):
    """A cell without any fitting; predictions follow from its name."""
    rng = np.random.default_rng(sum(map(ord, cell.name)))
    found = {"repeat": cell.repeat, "fold": cell.fold, "labels": cell.labels}
    found |= {"training": cell.training, "held_out": cell.held_out}
    found |= {"rarefy_depth": 0, "seconds": 1.0, "said": []}
    for who in ("aam", "forest"):
        if given.task == "regression":
            columns = {"predicted": rng.normal(5, 2, len(cell.held_out)).tolist()}
        else:
            known = sorted(set(given.target[cell.training]))
            chances = rng.dirichlet(np.ones(len(known)), len(cell.held_out))
            labels = np.array(known, dtype=object)[chances.argmax(axis=1)]
            columns = {"predicted": labels.tolist()}
            for label, values in zip(known, chances.T, strict=True):
                columns[f"probability_{label}"] = values.tolist()
        found[who] = {"ids": cell.held_out, "columns": columns}
    return found


@pytest.fixture
def quick(monkeypatch):
    """Nothing is fitted."""
    monkeypatch.setattr(runs, "compute", faked)


@pytest.fixture(scope="module")
def whole(smaller, tmp_path_factory):
    """A run that nothing interrupts, and its cells."""
    folder = tmp_path_factory.mktemp("cross-validation") / "cells"
    lines = []
    return run(smaller, folder, labels=(10,), report=lines.append), folder, lines


@pytest.mark.behaviour("folds", "repeats", "seed", command="cross-validate")
@pytest.mark.parametrize("task", ["regression", "classification"])
def test_folds_are_balanced_and_groups_are_whole(made, task):
    given = given_of(made, task, folds=4, repeats=3, seed=7)
    plan = planned(given, silent)
    assert [(c.repeat, c.fold) for c in plan] == [
        (r, f) for r in (1, 2, 3) for f in (1, 2, 3, 4)
    ]
    ids = given.target.index
    subject = made.metadata["subject"]
    for repeat in (1, 2, 3):
        folds = balanced_folds(given.target, given.groups, 4, 6 + repeat)
        own = [c for c in plan if c.repeat == repeat]
        for cell, (training, held_out) in zip(own, folds, strict=True):
            assert cell.seed == 6 + repeat
            assert cell.training == ids[training].tolist()
            assert cell.held_out == ids[held_out].tolist()
            assert not set(subject[cell.training]) & set(subject[cell.held_out])
        assert sorted(i for c in own for i in c.held_out) == sorted(ids)
    assert plan[0].held_out != plan[4].held_out  # each repeat has its own


def test_the_order_of_the_table_does_not_matter(made):
    given = given_of(made)
    rows = np.random.default_rng(0).permutation(len(made.table.sample_ids))
    turned = dataclasses.replace(made, table=made.table.take_samples(rows))
    for one, other in zip(
        planned(given, silent), planned(given_of(turned), silent), strict=True
    ):
        assert one.held_out == other.held_out


@pytest.mark.behaviour("labels", command="cross-validate")
@pytest.mark.parametrize("group", ["subject", None])
def test_fewer_labels_are_nested_and_whole_groups(made, group):
    lines = []
    given = given_of(made, "classification", group, labels=(12, 18, 24))
    given = dataclasses.replace(
        given, config=dataclasses.replace(given.config, folds=4)
    )
    plan = planned(given, lines.append)
    assert "24" in lines[0]  # of 24 training samples
    assert "left out" in lines[0]
    subject = made.metadata["subject"]
    for fold in (1, 2, 3, 4):
        sizes = {c.labels: c for c in plan if c.fold == fold}
        assert list(sizes) == [None, 18, 12]
        assert len({tuple(c.held_out) for c in sizes.values()}) == 1
        parts = [set(sizes[n].training) for n in (12, 18, None)]
        assert parts[0] < parts[1] < parts[2]
        assert [len(p) for p in parts] == [12, 18, 24]
        counts = made.metadata.loc[list(parts[0]), "kind"].value_counts()
        assert counts.min() >= 4
        if group:
            assert not set(subject[list(parts[0])]) & set(
                subject[list(parts[2] - parts[0])]
            )
    assert [c.labels for c in plan[4:]] == [18] * 4 + [12] * 4  # what matters first


def test_the_largest_subset_is_that_of_the_yardstick(made):
    labels = made.metadata["kind"]
    groups = made.metadata["subject"].to_numpy()
    found = nested(labels, groups, [8, 20], 3)
    assert found[20].tolist() == drawn(labels, groups, 20, 3).tolist()


def test_every_sample_is_predicted_by_both(smaller, whole):
    found, folder, lines = whole
    table = found.predictions
    assert found.run["completed"]
    every = table[table["labels"] == "all"]
    assert sorted(every["id"]) == sorted(smaller.table.sample_ids)
    assert table[["aam_predicted", "forest_predicted"]].notna().all().all()
    known = smaller.metadata.loc[table["id"]]
    assert table["true"].tolist() == known["value"].tolist()
    assert table["group"].tolist() == known["subject"].tolist()
    assert set(table.loc[table["labels"] == "10", "training"]) == {10}
    assert len(lines) == 5
    assert "left for all" in lines[1]
    assert "left" not in lines[-1]
    assert sorted(p.stem for p in folder.iterdir()) == [
        "identity",
        *(f"repeat-1-fold-{f}{n}" for f in (1, 2) for n in ("", "-labels-10")),
    ]


def test_the_forest_is_that_of_the_same_samples(smaller, whole):
    cell = planned(given_of(smaller, labels=(10,)), silent)[2]
    assert cell.labels == 10
    own = rf_baseline(
        ForestConfig(
            metadata_column=("value",), task="regression", rarefy_depth=0, seed=42
        ),
        table=smaller.table,
        metadata=smaller.metadata,
        training=cell.training,
        validation=cell.held_out,
        report=silent,
    )
    rows = whole[0].predictions.query("labels == '10' and fold == 1").set_index("id")
    assert rows["forest_predicted"][own.predictions.index].tolist() == (
        own.predictions["value"].tolist()
    )


def test_labels_of_a_held_out_fold_leave_no_trace(smaller):
    given = given_of(smaller)
    cell = planned(given, silent)[0]
    metadata = smaller.metadata.copy()
    metadata.loc[cell.held_out, "value"] += 1000.0
    other = given_of(dataclasses.replace(smaller, metadata=metadata))
    found = [cells.compute(cell, g) for g in (given, other)]
    for who in ("aam", "forest"):
        assert found[0][who] == found[1][who]
    metadata.loc[cell.training, "value"] *= 2.0  # while those of training do
    other = given_of(dataclasses.replace(smaller, metadata=metadata))
    again = cells.compute(cell, other)
    for who in ("aam", "forest"):
        assert found[0][who] != again[who]


def test_a_run_that_was_killed_resumes_as_if_it_never_was(smaller, whole, tmp_path):
    found = whole[0]
    computed, real = [], cells.compute

    def killed(cell, given, hours=None):
        computed.append(cell.name)
        if len(computed) == 2:
            raise KeyboardInterrupt
        return real(cell, given, hours)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(runs, "compute", killed)
        with pytest.raises(KeyboardInterrupt):
            run(smaller, tmp_path / "cells", labels=(10,))
        assert len(list((tmp_path / "cells").glob("repeat*.json"))) == 1
        lines = []
        again = run(smaller, tmp_path / "cells", labels=(10,), report=lines.append)
    assert "1 of them are done already" in lines[1]
    assert len(computed) == 2 + 3  # the one that was killed is computed anew
    pd.testing.assert_frame_equal(again.predictions, found.predictions)


def test_sigterm_in_the_middle_returns_the_folds_that_are_done(
    smaller, quick, tmp_path, monkeypatch
):
    """Also while training watches a request of its own."""
    calls = []

    def signalled(cell, given, hours=None):
        calls.append(cell.name)
        if len(calls) == 3:
            with StopRequest() as inner:
                os.kill(os.getpid(), signal.SIGTERM)
                for _ in range(1000):
                    time.sleep(0.01)
                raise AssertionError(f"not interrupted: {inner.reason}")
        return faked(cell, given)

    before = signal.getsignal(signal.SIGTERM)
    monkeypatch.setattr(runs, "compute", signalled)
    lines = []
    found = run(smaller, tmp_path / "cells", folds=4, report=lines.append)
    assert signal.getsignal(signal.SIGTERM) is before
    assert (found.run["done"], found.run["cells"]) == (2, 4)
    assert found.run["completed"] is False
    assert set(found.predictions["fold"]) == {1, 2}
    assert "Stopped after 2 of 4 fits because it was asked to (SIGTERM)" in lines[-1]
    assert lines[-1] in found.run["notes"]
    again = run(smaller, tmp_path / "cells", folds=4)
    assert again.run["completed"]
    straight = run(smaller, folds=4)
    pd.testing.assert_frame_equal(again.predictions, straight.predictions)


@pytest.mark.behaviour("max_hours", command="cross-validate")
def test_max_hours_interrupt_the_cell_that_runs(smaller, monkeypatch):
    def slow(cell, given, hours=None):
        if cell.fold == 2:
            with contextlib.suppress(Exception):  # as what is inside might do
                time.sleep(20)
            raise AssertionError("not interrupted")
        assert 0 < hours <= 0.5 / 3600
        return faked(cell, given)

    monkeypatch.setattr(runs, "compute", slow)
    began = time.monotonic()
    found = run(smaller, max_hours=0.5 / 3600)
    assert time.monotonic() - began < 10
    assert signal.getitimer(signal.ITIMER_REAL) == (0.0, 0.0)
    assert found.run["done"] == 1
    assert "max_hours" in found.run["notes"][-1]


def test_a_training_that_ends_early_is_not_taken_for_a_cell(smaller):
    """As in a thread, where nothing can interrupt it."""
    given = given_of(smaller)
    with pytest.raises(Interrupted):
        cells.compute(planned(given, silent)[0], given, hours=0.0)


def test_in_a_thread_a_run_ends_after_the_cell_that_runs(smaller, monkeypatch):
    """Python allows handlers in the main thread alone."""

    def slow(cell, given, hours=None):
        time.sleep(0.2)
        return faked(cell, given)

    monkeypatch.setattr(runs, "compute", slow)
    with ThreadPoolExecutor(1) as pool:
        found = pool.submit(run, smaller, max_hours=0.1 / 3600).result()
    assert (found.run["done"], found.run["cells"]) == (1, 2)


def test_a_run_that_ends_before_its_first_fold_says_so(smaller, quick, tmp_path):
    with pytest.raises(InputError, match=r"before its first fold.*max_hours"):
        run(smaller, tmp_path / "cells", max_hours=1e-12)
    assert not (tmp_path / "cells").exists()


def test_work_that_is_not_open_is_not_interrupted():
    with Interruption() as stop:
        os.kill(os.getpid(), signal.SIGTERM)
        assert "SIGTERM" in stop.reason
        with pytest.raises(Interrupted), stop.interruptible():
            raise AssertionError("began")


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"folds": 3}, "folds is 3, but was 2"),
        ({"seed": 1}, "seed is 1, but was 42"),
        ({"labels": (10,)}, r"labels is \[10\], but was \[\]"),
        ({"rarefy_depth": 100}, "rarefy_depth is 100, but was None"),
        ({"effort": "standard"}, "effort is 'standard', but was 'quick'"),
        ({"task": "classification"}, "metadata_column is 'kind', but was 'value'"),
        ({"group": False}, "group_column is None, but was 'subject'"),
    ],
)
def test_cells_of_other_options_are_refused(smaller, quick, tmp_path, options, message):
    run(smaller, tmp_path)
    with pytest.raises(InputError, match=message):
        run(smaller, tmp_path, **options)


@pytest.mark.parametrize("what", ["table", "sequences", "metadata column", "groups"])
def test_cells_of_other_data_are_refused(smaller, quick, tmp_path, what):
    run(smaller, tmp_path)
    metadata, sequences = smaller.metadata.copy(), dict(smaller.sequences)
    table = smaller.table
    if what == "table":
        counts = table.counts.copy()
        counts.data[0] += 1
        table = dataclasses.replace(table, counts=counts)
    elif what == "sequences":
        first = next(iter(sequences))
        sequences[first] = sequences[first][::-1]
    elif what == "groups":
        metadata.loc["s00", "subject"] = "p9"
    else:
        metadata.loc["s00", "value"] += 1e-9
    other = dataclasses.replace(
        smaller, table=table, metadata=metadata, sequences=sequences
    )
    with pytest.raises(InputError, match=f"Not what the run in .* read: '{what}'"):
        run(other, tmp_path)


def test_more_repeats_are_added_to_those_that_are_there(smaller, quick, tmp_path):
    run(smaller, tmp_path, repeats=1)
    lines = []
    found = run(smaller, tmp_path, repeats=2, report=lines.append)
    assert "2 of them are done already" in lines[1]
    straight = run(smaller, repeats=2)
    pd.testing.assert_frame_equal(found.predictions, straight.predictions)


def test_a_folder_of_something_else_is_left_alone(smaller, quick, tmp_path):
    (tmp_path / "thesis.txt").write_text("x")
    with pytest.raises(InputError, match="no cross-validation wrote"):
        run(smaller, tmp_path)


def test_a_cell_of_other_samples_is_computed_anew(smaller, quick, tmp_path):
    """As where another numpy draws other folds."""
    found = run(smaller, tmp_path)
    path = tmp_path / "repeat-1-fold-1.json"
    cell = json.loads(path.read_text())
    path.write_text(json.dumps(cell | {"held_out": cell["held_out"][1:]}))
    again = run(smaller, tmp_path)
    pd.testing.assert_frame_equal(again.predictions, found.predictions)


def test_half_a_cell_is_none(smaller, quick, tmp_path, monkeypatch):
    """A crash while a cell is written leaves no file of its name."""

    def crash(*args):
        raise OSError

    monkeypatch.setattr(os, "fsync", crash)
    with pytest.raises(OSError):  # noqa: PT011
        run(smaller, tmp_path / "cells")
    assert not list((tmp_path / "cells").glob("*"))


@pytest.mark.behaviour(
    "effort", "device", "rarefy_depth", "seed", command="cross-validate"
)
def test_options_are_those_of_each_training(smaller, monkeypatch):
    seen = []

    def train(config, output, **reads):
        seen.append((config, reads, progress(None, disable=False)))
        raise InputError("enough")

    monkeypatch.setattr(cells, "train", train)
    options = {"effort": "thorough", "device": "cpu", "rarefy_depth": 77, "seed": 5}
    held_out = planned(given_of(smaller, seed=5), silent)[0].held_out
    counts = smaller.table.counts.tolil()
    counts[np.flatnonzero(~np.isin(smaller.table.sample_ids, held_out)), 0] = 0
    table = dataclasses.replace(smaller.table, counts=counts.tocsr())
    smaller = dataclasses.replace(smaller, table=table)
    with pytest.raises(
        InputError, match="Repeat 1 of 1, fold 1, 12 training samples: enough"
    ):
        run(smaller, **options)
    config, reads, bar = seen[0]
    for name, value in options.items():
        assert getattr(config, name) == value
    assert config.group_column == "subject"
    assert len(reads["table"].sample_ids) == 12
    assert "asv000" not in reads["table"].feature_ids  # only the fold has it
    known = reads["metadata"].index  # nothing of others, in any column
    assert sorted(known) == sorted(reads["table"].sample_ids)
    assert bar.disable  # of many trainings, none shows a bar
    assert not progress(None, disable=False).disable


def test_a_depth_is_chosen_by_training_samples_for_both(made, monkeypatch):
    """Where the number of reads alone would tell the target."""
    depths = np.rint(made.metadata["value"].to_numpy() * 3).astype(int) + 1
    counts = made.table.counts.multiply(depths[:, None]).tocsr()
    table = dataclasses.replace(made.table, counts=counts)
    given = given_of(dataclasses.replace(made, table=table), folds=4)
    cell = planned(given, silent)[0]
    forests, real = [], cells.rf_baseline

    def forest(config, **reads):
        forests.append(config)
        return real(config, **reads)

    monkeypatch.setattr(cells, "rf_baseline", forest)
    found = cells.compute(cell, given)
    rows = np.flatnonzero(np.isin(table.sample_ids, cell.training))
    ids = table.sample_ids[rows]
    groups = made.metadata.loc[ids, "subject"].to_numpy()
    read = table.depths[rows], given.target[ids], groups
    depth = choose_depth(None, *read, cell.seed, silent)
    assert depth > 0
    assert found["rarefy_depth"] == forests[0].rarefy_depth == depth


def test_samples_that_only_one_method_predicts_are_told(smaller):
    counts = smaller.table.counts.tolil()
    row = list(smaller.table.sample_ids).index("s00")
    counts[row] = np.minimum(counts[row].toarray(), 2)
    table = dataclasses.replace(smaller.table, counts=counts.tocsr())
    shallow = dataclasses.replace(smaller, table=table)
    found = run(shallow, rarefy_depth=200)
    assert found.run["rarefy_depths"] == [200]
    rows = found.predictions.set_index("id")
    assert np.isfinite(rows.loc["s00", "aam_predicted"])
    assert np.isnan(rows.loc["s00", "forest_predicted"])
    assert rows["forest_predicted"].isna().sum() == 1
    assert "not predicted by random forest" in found.run["notes"][-1]
    assert "'s00'" in found.run["notes"][-1]


def test_classes_that_a_fold_lacks_get_no_probability(smaller, quick):
    metadata = smaller.metadata.assign(kind=["a"] * 11 + ["b"] * 12 + ["c"])
    metadata["subject"] = metadata.index
    other = dataclasses.replace(smaller, metadata=metadata)
    found = run(other, task="classification")
    assert found.run["classes"] == ["a", "b", "c"]
    rows = found.predictions.set_index("true")
    assert rows.loc["c", "aam_probability_c"] == 0.0
    sums = rows[[f"aam_probability_{c}" for c in "abc"]].sum(axis=1)
    assert np.allclose(sums, 1.0)


def test_input_that_cannot_be_divided_is_told_first(smaller, quick):
    one = smaller.metadata.assign(subject="p0")
    with pytest.raises(InputError, match="in 1 group, which makes no two folds"):
        run(dataclasses.replace(smaller, metadata=one))
    kinds = np.where(smaller.metadata["subject"] == "p3", "a", "b")
    rare = smaller.metadata.assign(kind=kinds)
    with pytest.raises(InputError, match=r"all have the value 'b'.*fewer folds"):
        run(dataclasses.replace(smaller, metadata=rare), task="classification")
    with pytest.raises(InputError, match="to be predicted"):
        cross_validate(
            CrossValidateConfig(),
            task="regression",
            column="value",
            metadata=smaller.metadata,
            group_column="value",
            **shared(smaller),
        )
    lines = []
    run(smaller, folds=20, report=lines.append)
    assert "12 folds are made instead of 20" in lines[0]


def test_a_cell_that_fails_later_is_left_out(smaller, monkeypatch):
    def fails(cell, given, hours=None):
        if cell.fold == 2:
            raise InputError("too few")
        return faked(cell, given)

    monkeypatch.setattr(runs, "compute", fails)
    found = run(smaller, folds=3)
    assert (found.run["done"], found.run["completed"]) == (2, False)
    assert "fold 2, 16 training samples failed" in found.run["notes"][0]
    assert "1 of 3 fits failed" in found.run["notes"][1]


def test_cells_are_plain_json(whole):
    for path in whole[1].iterdir():
        json.loads(path.read_text(), parse_constant=pytest.fail)
