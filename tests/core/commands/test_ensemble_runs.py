"""Ensembles from training to prediction: folds, members, weights, what is kept."""

import json
import shutil

import numpy as np
import pandas as pd
import pytest
from safetensors.numpy import load_file, save_file
from sklearn import metrics
from sklearn.ensemble import RandomForestRegressor
from sklearn.preprocessing import normalize

from aam_core.commands import cross_fit
from aam_core.commands.predict import predict
from aam_core.commands.rf_baseline import rf_baseline, samples_of
from aam_core.commands.train import train
from aam_core.config import ForestConfig, PredictConfig, TrainConfig
from aam_core.data.folds import balanced_folds
from aam_core.ensemble import kernel, trees
from aam_core.ensemble.mixture import Space
from aam_core.errors import InputError
from aam_core.io import model_folder
from aam_core.reporting import silent
from aam_core.training.stop import StopRequest
from tests import generate
from tests.runs import SMALL, shared, turned

COLUMN = {"metadata_column": ("value",)}
CPU = PredictConfig(device="cpu")


@pytest.fixture(autouse=True, scope="module")
def quick():
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(kernel, "FEATURES", 32)
        patch.setattr(trees, "TREES", 10)
        patch.setattr(trees, "FEWEST_TREES", 5)
        yield


@pytest.fixture(scope="module")
def made():
    return generate.study(samples=36)


def run(made, output, report=silent, metadata=None, given=None, **options):
    config = TrainConfig(**SMALL | COLUMN | {"cross_fit": 3} | options)
    metadata = made.metadata if metadata is None else metadata
    reads = {**shared(made), **(given or {})}
    return train(config, output, **reads, metadata=metadata, report=report).predictions


def predicted(made, model, report=silent, **given):
    given = {**shared(made), "metadata": made.metadata, **given}
    return predict(CPU, model, **given, report=report)


@pytest.fixture(scope="module")
def whole(made, tmp_path_factory):
    """A model of all members, what the run returned, and what it said."""
    path, lines = tmp_path_factory.mktemp("whole") / "m", []
    found = run(made, path, lines.append)
    return path, found, lines


def test_each_sample_is_predicted_once_and_scored(made, whole):
    path, found, lines = whole
    saved = model_folder.read_config(path)
    folds = saved["split"]["folds"]
    assert sorted(i for fold in folds for i in fold) == sorted(made.metadata.index)
    assert [len(fold) for fold in folds] == [12, 12, 12]
    assert sorted(found.index) == sorted(made.metadata.index)
    true = made.metadata.loc[found.index, "value"]
    scores = saved["scores"]
    assert scores["val_mae"] == pytest.approx(
        metrics.mean_absolute_error(true, found["value"])
    )
    assert scores["val_r2"] == pytest.approx(metrics.r2_score(true, found["value"]))
    told = next(line for line in lines if line.startswith("Out of fold (36 samples)"))
    assert f"mae {scores['val_mae']:.4g}" in told
    ensemble = saved["ensemble"]
    assert sum(ensemble["weights"].values()) == pytest.approx(1)
    names = ["network", *(f"kernel-{v}" for v in kernel.VIEWS)]
    names += [f"trees-{v}" for v in trees.VIEWS]
    assert list(ensemble["weights"]) == list(ensemble["scores"]) == names
    assert "kernel and trees are fitted to 36 samples, in 3 folds." in lines
    told = next(line for line in lines if line.startswith("Weights"))
    assert all(f"{name} {w:.2f}" in told for name, w in ensemble["weights"].items())
    model_folder.check_layout(path, "max")
    history = model_folder.read_history(path)
    assert history["fold"].unique().tolist() == [1, 2, 3]


def alone(path, copy, member, network=None):
    """A model of one member of another."""
    shutil.copytree(path, copy)
    config = copy / model_folder.CONFIG
    saved = json.loads(config.read_text())
    ensemble = saved["ensemble"]
    ensemble["weights"] = {member: 1.0}
    if network is not None:
        weights = load_file(copy / model_folder.WEIGHTS)
        start = f"networks.{network}."
        own = {n.removeprefix(start): w for n, w in weights.items() if start in n}
        ensemble["network"] = [ensemble["network"][network]]
        for name in ("kernel", "trees"):
            del ensemble[name]
        save_file(own, copy / model_folder.WEIGHTS)
        saved["tensors"] = {n: list(w.shape) for n, w in own.items()}
    config.write_text(json.dumps(saved))
    return copy


@pytest.mark.behaviour("ensemble", command="train")
def test_new_samples_get_the_weighted_mean_of_the_members(made, whole, tmp_path):
    path, _, _ = whole
    weights = model_folder.read_config(path)["ensemble"]["weights"]
    networks = [
        predicted(made, alone(path, tmp_path / f"n{k}", "network", k)).predictions
        for k in range(3)
    ]
    expected = weights["network"] * np.mean([n.to_numpy() for n in networks], axis=0)
    assert not np.allclose(*networks[:2])
    for name in list(weights)[1:]:
        found = predicted(made, alone(path, tmp_path / name, name)).predictions
        expected += weights[name] * found.to_numpy()
    found = predicted(made, path).predictions
    assert found.to_numpy().std() > 0.1
    np.testing.assert_allclose(found, expected, rtol=1e-4)


def test_intervals_of_new_samples_are_wider_where_members_disagree(
    made, whole, tmp_path
):
    path = shutil.copytree(whole[0], tmp_path / "wide")
    config = path / model_folder.CONFIG
    saved = json.loads(config.read_text())
    saved["target"] |= {"half_widths": [2.0], "widening": [0.75]}
    config.write_text(json.dumps(saved))
    weights = saved["ensemble"]["weights"]
    found = predicted(made, path).details
    each = {
        name: predicted(made, alone(path, tmp_path / name, name)).details
        for name in weights
    }
    points = np.stack([frame["value_predicted"] for frame in each.values()])
    shares = np.array(list(weights.values()))[:, None]
    mean = (shares * points).sum(axis=0)
    apart = np.sqrt((shares * (points - mean) ** 2).sum(axis=0))
    assert apart.max() > 1.2 * apart.min() > 0
    width = found["value_upper_90"] - found["value_predicted"]
    np.testing.assert_allclose(width, 2 * (1 + 0.75 * apart), rtol=1e-3)
    one = each["kernel-abundance"]  # one member agrees with itself
    width = one["value_upper_90"] - one["value_predicted"]
    np.testing.assert_allclose(width, 2.0, rtol=1e-6)


def test_intervals_of_a_fold_are_found_without_it(made, tmp_path, monkeypatch):
    seen = []

    def kept(true, *given):
        seen.append(true[:, 0])
        return plain(true, *given)

    plain = cross_fit.widening_of
    monkeypatch.setattr(cross_fit, "widening_of", kept)
    run(made, tmp_path / "m", ensemble=("kernel", "trees"))
    folds = model_folder.read_config(tmp_path / "m")["split"]["folds"]
    values = made.metadata["value"]
    for fold in folds:
        others = sorted(values.drop(fold))
        assert any(sorted(true) == pytest.approx(others) for true in seen)
    assert len(seen) == 4  # and all samples, for new ones


def permuted_within(made, found, held_out):
    """Values of the held-out samples, exchanged where folds stay what they are."""
    values = made.metadata["value"].copy()
    ranks = values.rank(method="first") - 1
    quarter = (ranks * 4 // len(values)).astype(int)
    inside = values.index.isin(held_out)
    for number in range(4):
        ids = values.index[inside & (quarter == number)]
        values[ids] = np.roll(values[ids], 1)
    return made.metadata.assign(value=values)


@pytest.mark.behaviour("cross_fit", command="train")
def test_nothing_is_learned_of_the_fold_that_is_predicted(
    made, whole, tmp_path, monkeypatch
):
    """Other labels in a fold leave its predictions; weights are held equal."""

    def equal(found, rows, loss):
        return dict.fromkeys(found, 1 / len(found))

    monkeypatch.setattr(cross_fit, "convex_weights", equal)
    first = run(made, tmp_path / "a")
    folds = model_folder.read_config(tmp_path / "a")["split"]["folds"]
    changed = permuted_within(made, first, folds[1])
    assert (changed["value"] != made.metadata["value"]).sum() > 6
    second = run(made, tmp_path / "b", metadata=changed)
    assert model_folder.read_config(tmp_path / "b")["split"]["folds"] == folds
    np.testing.assert_allclose(second.loc[folds[1]], first.loc[folds[1]], rtol=1e-5)
    for other in (folds[0], folds[2]):
        assert (np.abs(second.loc[other] - first.loc[other]) > 1e-3).to_numpy().all()


def test_weights_of_a_fold_are_found_without_it(made, tmp_path, monkeypatch):
    asked = []
    real = cross_fit.convex_weights

    def kept(found, rows, loss):
        asked.append(rows)
        return real(found, rows, loss)

    monkeypatch.setattr(cross_fit, "convex_weights", kept)
    run(made, tmp_path / "m", ensemble=("kernel", "trees"))
    saved = model_folder.read_config(tmp_path / "m")
    ids = np.array(sorted(made.metadata.index))
    assert len(asked[0]) == 36
    for rows, fold in zip(asked[1:], saved["split"]["folds"], strict=True):
        assert set(ids[rows]) == set(ids) - set(fold)


def test_groups_stay_together_and_there_are_no_more_folds(made, tmp_path):
    lines = []
    metadata = made.metadata.assign(site=[f"g{i % 4}" for i in range(36)])
    options = {"group_column": "site", "ensemble": ("trees",), "cross_fit": 9}
    run(made, tmp_path / "m", lines.append, metadata, **options)
    folds = model_folder.read_config(tmp_path / "m")["split"]["folds"]
    assert sorted(len(set(metadata.loc[fold, "site"])) for fold in folds) == [1] * 4
    assert any("4 folds are made instead of 9" in line for line in lines)


def test_a_single_group_is_refused(made, tmp_path):
    metadata = made.metadata.assign(site="one")
    with pytest.raises(InputError, match="36 samples with a label in 1 group"):
        run(made, tmp_path / "m", metadata=metadata, group_column="site")
    metadata.loc["s03", "site"] = None
    with pytest.raises(InputError, match="no value in the group_column: 's03'"):
        run(made, tmp_path / "m", metadata=metadata, group_column="site")


def test_members_without_a_network(made, tmp_path):
    """Nothing is trained by epochs; any of them alone does, too."""
    for name in ("kernel", "trees"):
        path = tmp_path / name
        held_out = run(made, path, ensemble=(name,))
        model_folder.check_layout(path, "max")
        saved = model_folder.read_config(path)
        assert saved["completed"]
        assert {n.split(".")[0] for n in saved["tensors"]} == {name, "asvs"}
        assert saved["scores"]["val_r2"] > 0.2
        (row,) = model_folder.read_history(path).to_dict("records")
        assert row["epoch"] == 0
        assert row["val_r2"] == pytest.approx(saved["scores"]["val_r2"])
        found = predicted(made, path).predictions
        assert np.corrcoef(found["value"], held_out.loc[found.index, "value"])[0, 1] > 0
    config = TrainConfig(**SMALL | COLUMN | {"ensemble": ("trees",)})
    reads = {**shared(made), "metadata": made.metadata}
    with pytest.raises(InputError, match="encoder has no effect"):
        train(config, tmp_path / "m", **reads, encoder=tmp_path, report=silent)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"ensemble": ("trees", "trees")}, "names trees twice"),
        ({"cross_fit": 1}, "cross_fit is 1"),
        ({"ensemble": ("kernel",), "loss_type": "quantile"}, "needs the network"),
        (
            {"ensemble": ("trees",), "loss_type": "asymmetric", "over_penalty": 2.0},
            "needs the network",
        ),
    ],
)
def test_what_makes_no_ensemble_is_refused(options, message):
    with pytest.raises(InputError, match=message):
        TrainConfig(**COLUMN | options)


def test_a_single_split(made, tmp_path):
    """Validation samples weigh the members, and are predicted as new ones are."""
    held_out = run(made, tmp_path / "m", cross_fit=0)
    saved = model_folder.read_config(tmp_path / "m")
    assert "folds" not in saved["split"]
    assert sorted(held_out.index) == sorted(saved["split"]["validation"])
    again = predicted(made, tmp_path / "m").predictions.loc[held_out.index]
    np.testing.assert_allclose(again, held_out, rtol=1e-4)
    assert len(saved["ensemble"]["weights"]) == 6


def test_asvs_are_known_by_their_sequences(made, whole):
    """Whatever their ids, and in whatever order."""
    path, _, _ = whole
    before = predicted(made, path).predictions
    names = np.array([made.sequences[i] for i in made.table.feature_ids], dtype=object)
    table = type(made.table)(made.table.counts, made.table.sample_ids, names)
    after = predicted(made, path, table=turned(table), sequences=None).predictions
    pd.testing.assert_frame_equal(after.loc[before.index], before, rtol=1e-4)


def test_the_order_of_the_table_does_not_matter(made, tmp_path):
    options = {"ensemble": ("kernel", "trees")}
    first = run(made, tmp_path / "a", **options)
    second = run(made, tmp_path / "b", given={"table": turned(made.table)}, **options)
    pd.testing.assert_frame_equal(first, second, rtol=1e-5)


def test_classes(made, tmp_path):
    """One class lies in a single fold: members without it know its frequency."""
    metadata = made.metadata.copy()
    metadata.loc[["s00", "s01"], ["kind", "subject"]] = ["rare", "p0"]
    metadata["subject"] = [f"p{i // 2}" for i in range(36)]
    options = {"task": "classification", "metadata_column": ("kind",)}
    options |= {"group_column": "subject", "class_weights": "balanced"}
    held_out = run(made, tmp_path / "m", metadata=metadata, **options)
    saved = model_folder.read_config(tmp_path / "m")
    assert saved["target"]["classes"]["labels"] == ["high", "low", "rare"]
    lacking = [
        network["target"]["classes"]["labels"] == ["high", "low"]
        for network in saved["ensemble"]["network"]
    ]
    assert lacking.count(True) == 1
    assert saved["ensemble"]["frequencies"][2] == pytest.approx(2 / 36)
    true = metadata.loc[held_out.index, "kind"]
    accuracy = metrics.accuracy_score(true, held_out["kind"])
    assert saved["scores"]["val_accuracy"] == pytest.approx(accuracy)
    assert accuracy > 0.55
    details = predicted(made, tmp_path / "m").details
    np.testing.assert_allclose(details.sum(axis=1), 1, rtol=1e-5)


def test_probabilities_of_members_that_lack_a_class(made, tmp_path):
    options = {"task": "classification", "metadata_column": ("kind",)}
    run(made, tmp_path / "m", ensemble=("trees",), **options)
    decoder = cross_fit.Decoder.from_dict(
        "classification", model_folder.read_config(tmp_path / "m")["target"]
    )
    three = type(decoder.classes)(("high", "low", "odd"))
    space = Space(
        type(decoder)("classification", ("kind",), classes=three), (0.5, 0.3, 0.2)
    )
    found = space.taken(np.log([[0.9, 0.1]]), decoder)
    np.testing.assert_allclose(found, [[0.72, 0.08, 0.2]])


@pytest.mark.parametrize(
    "options",
    [
        {"loss_type": "quantile"},
        {"bounded_targets": True, "target_transform": "minmax"},
        {"output_activation": "softplus", "target_transform": "log-zscore"},
        {"target_transform": "zscore-category", "normalize_by": ("site",)},
        {"categorical_columns": ("site",), "categorical_loss_weights": "auto"},
        {"metadata_column": ("value", "other"), "loss_config": '{"other": "mae"}'},
    ],
    ids=lambda options: "+".join(options),
)
def test_options_that_members_follow(made, tmp_path, options):
    """What is predicted is where the option says; what is kept predicts the same."""
    metadata = made.metadata.assign(other=-made.metadata["value"])
    held_out = run(made, tmp_path / "m", metadata=metadata, **options)
    saved = model_folder.read_config(tmp_path / "m")
    assert len(saved["ensemble"]["weights"]) == 6
    true = metadata.loc[held_out.index, list(held_out)]
    assert saved["scores"]["val_r2"] == pytest.approx(
        metrics.r2_score(true, held_out), rel=1e-5
    )
    assert saved["scores"]["val_r2"] > 0.2
    found = predicted(made, tmp_path / "m", metadata=metadata)
    assert np.isfinite(found.details.to_numpy()).all()
    known = metadata.loc[found.predictions.index, list(held_out)]
    assert metrics.r2_score(known, found.predictions) > 0.3
    if "quantile" in options.values():
        names = [f"value_quantile_{q}" for q in (0.1, 0.5, 0.9)]
        assert (np.diff(found.details[names].to_numpy(), axis=1) >= 0).all()
    if "bounded_targets" in options:
        inside = held_out["value"].between(true["value"].min(), true["value"].max())
        assert inside.all()


def test_members_that_cannot_follow_are_left_out(made, tmp_path):
    lines = []
    options = {"loss_type": "asymmetric", "over_penalty": 3.0}
    run(made, tmp_path / "m", lines.append, **options)
    assert any("kernel and trees are left out" in line for line in lines)
    weights = model_folder.read_config(tmp_path / "m")["ensemble"]["weights"]
    assert weights == {"network": 1.0}


def test_a_run_that_is_stopped_returns_what_there_is(made, tmp_path):
    """While kernel and trees are fitted; folds that are not reached have no scores."""
    lines, state = [], tmp_path / "m"
    config = TrainConfig(**SMALL | COLUMN | {"cross_fit": 3, "max_hours": 1e-9})
    reads = {**shared(made), "metadata": made.metadata, "report": lines.append}
    held_out = train(config, tmp_path / "m", **reads, state=state).predictions
    saved = model_folder.read_config(tmp_path / "m")
    assert saved["completed"] is False
    assert sorted(held_out.index) == sorted(saved["split"]["folds"][0])
    assert "network" not in saved["ensemble"]
    assert len(saved["ensemble"]["weights"]) == 5
    model_folder.check_layout(tmp_path / "m", "max")
    assert len(predicted(made, tmp_path / "m").predictions) == 36
    config = TrainConfig(**SMALL | COLUMN | {"cross_fit": 3})
    again = train(
        config, tmp_path / "m", **reads, state=state, resume_from=state
    ).predictions
    assert sorted(again.index) == sorted(made.metadata.index)
    assert model_folder.read_config(tmp_path / "m")["completed"] is True


def test_a_stop_between_folds(made, tmp_path, monkeypatch):
    asked = []

    class Watch(StopRequest):
        @property
        def reason(self):
            asked.append(1)
            return "it was asked to" if len(asked) > 6 else None

    monkeypatch.setattr("aam_core.training.run.StopRequest", Watch)
    lines = []
    config = TrainConfig(**SMALL | COLUMN | {"cross_fit": 3, "epochs": 1})
    reads = {**shared(made), "metadata": made.metadata, "report": lines.append}
    train(config, tmp_path / "m", **reads)
    saved = model_folder.read_config(tmp_path / "m")
    assert saved["completed"] is False
    assert 1 <= len(saved["ensemble"]["network"]) < 3


def test_trees_that_were_changed_are_refused(made, whole, tmp_path):
    path, _, _ = whole
    shutil.copytree(path, tmp_path / "m")
    weights = load_file(tmp_path / "m" / model_folder.WEIGHTS)
    inner = np.flatnonzero(weights["trees.presence.column"] >= 0)[0]
    weights["trees.presence.other"][inner] = inner
    save_file(weights, tmp_path / "m" / model_folder.WEIGHTS)
    with pytest.raises(InputError, match="members of the ensemble"):
        predicted(made, tmp_path / "m")


# --- the forest beside it ---


@pytest.mark.parametrize("task", ["regression", "classification"])
def test_the_forest_repeats_the_folds(made, whole, task):
    path, held_out, _ = whole
    saved = model_folder.read_config(path)
    column = "value" if task == "regression" else "kind"
    config = ForestConfig(
        metadata_column=(column,),
        task=task,
        rarefy_depth=0,
        n_estimators=7,
        max_features="0.5",
        n_jobs=1,
    )
    found = rf_baseline(
        config,
        table=made.table,
        metadata=made.metadata,
        **samples_of(saved["split"]),
        report=silent,
    )
    assert sorted(found.predictions.index) == sorted(held_out.index)
    true = made.metadata.loc[found.predictions.index, column]
    if task == "classification":
        np.testing.assert_allclose(found.probabilities.sum(axis=1), 1)
        accuracy = metrics.accuracy_score(true, found.predictions[column])
        assert found.metrics["accuracy"] == pytest.approx(accuracy)
        return
    order = np.argsort(made.table.feature_ids)
    fractions = normalize(made.table.counts.astype(float), norm="l1")[:, order]
    rows = pd.Series(range(36), made.table.sample_ids)
    values, importance = made.metadata["value"], []
    for fold in saved["split"]["folds"]:
        others = sorted(set(rows.index) - set(fold))
        forest = RandomForestRegressor(7, max_features=0.5, random_state=42)
        seen = np.unique(fractions[rows[others]].indices)
        forest.fit(fractions[rows[others]][:, seen], values[others])
        expected = forest.predict(fractions[rows[fold]][:, seen])
        np.testing.assert_allclose(found.predictions.loc[fold, "value"], expected)
        importance.append(pd.Series(forest.feature_importances_, seen))
    mean = pd.concat(importance, axis=1).fillna(0).mean(axis=1)
    names = made.table.feature_ids[order]
    np.testing.assert_allclose(found.importance[names[mean.index]], mean)
    assert found.metrics["r2"] == pytest.approx(
        metrics.r2_score(true, found.predictions["value"])
    )


# --- folds ---


def test_folds_hold_classes_alike_without_groups():
    labels = np.array(["a"] * 10 + ["b"] * 15 + ["c"] * 3)
    folds = balanced_folds(labels, None, 5, 0)
    assert sorted(np.concatenate([held for _, held in folds])) == list(range(28))
    for fitted, held_out in folds:
        assert not set(fitted) & set(held_out)
        found = pd.Series(labels[held_out]).value_counts()
        assert found["a"] == 2
        assert found["b"] == 3
        assert found.get("c", 0) <= 1


@pytest.mark.parametrize("seed", range(20))
def test_no_fold_is_empty(seed):
    """Also where groups of one class could share a fold at no cost."""
    labels = np.array(["a"] * 20 + ["b", "c", "d", "e"])
    groups = np.r_[np.zeros(20), 1:5].astype(str)
    folds = balanced_folds(labels, groups, 5, seed)
    assert [len(held_out) > 0 for _, held_out in folds] == [True] * 5


@pytest.mark.parametrize(("effort", "number"), [("quick", 3), ("standard", 5)])
def test_folds_follow_effort(made, tmp_path, effort, number):
    options = {"ensemble": ("trees",), "cross_fit": None, "effort": effort}
    run(made, tmp_path / "m", **options)
    assert len(model_folder.read_config(tmp_path / "m")["split"]["folds"]) == number


@pytest.mark.parametrize("members", [("network",), ("kernel",)])
def test_two_groups_make_two_folds(made, tmp_path, members):
    """Of what is left to fit, one group, some samples choose the best epoch."""
    metadata = made.metadata.assign(half=np.arange(36) % 2)
    metadata["half"] = metadata["half"].map({0: "a", 1: "b"})
    options = {"group_column": "half", "ensemble": members}
    found = run(made, tmp_path / "m", metadata=metadata, **options)
    assert len(found) == 36
    folds = model_folder.read_config(tmp_path / "m")["split"]["folds"]
    halves = [set(metadata.loc[ids, "half"]) for ids in folds]
    assert halves in ([{"a"}, {"b"}], [{"b"}, {"a"}])


@pytest.mark.parametrize("number", [0, 1])
def test_too_few_samples_make_no_folds(number):
    assert balanced_folds(np.zeros(number), None, 5, 0) == []
