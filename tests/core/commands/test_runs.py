"""Pre-training, training and prediction, end to end on a small study."""

import dataclasses
import itertools

import numpy as np
import pandas as pd
import pytest
import torch
from skbio.diversity.beta import unweighted_unifrac

from aam_core.commands.predict import predict
from aam_core.commands.pretrain import pretrain
from aam_core.commands.rf_baseline import rf_baseline
from aam_core.commands.train import train
from aam_core.config import ForestConfig, PredictConfig, PretrainConfig
from aam_core.errors import InputError
from aam_core.io import model_folder
from aam_core.io.load import load_encoder, load_networks
from aam_core.nn.encoder import Encoder
from aam_core.reporting import silent
from tests import generate
from tests.reports import QUIET
from tests.runs import config_of, go, shared, turned

SMALL = generate.SIZES | {
    "rarefy_depth": 300,
    "lr": 3e-3,
    "device": "cpu",
}


@pytest.fixture(scope="module")
def encoder(made, tmp_path_factory):
    output = tmp_path_factory.mktemp("encoder") / "best"
    config = PretrainConfig(**SMALL, epochs=12, unifrac_metric="weighted")
    pretrain(config, output, **shared(made), phylogeny=made.phylogeny, **QUIET)
    return output


def test_pretraining_learns_distances_and_nucleotides(encoder):
    model_folder.check_layout(encoder, "max")
    history = model_folder.read_history(encoder)
    assert history["val_unifrac_r"].iloc[-1] > 0.5
    for loss in ("train_unifrac_loss", "val_unifrac_loss", "val_nuc_loss"):
        assert history[loss].iloc[-1] < 0.9 * history[loss].iloc[0], loss
    assert history["val_nuc_loss"].iloc[-1] < np.log(4)
    config = model_folder.read_config(encoder)
    split = config["split"]
    assert not set(split["training"]) & set(split["validation"])
    assert len(split["training"]) + len(split["validation"]) == 32
    assert config["best_epoch"] == history["val_loss"].idxmin() + 1


def test_the_same_seed_gives_the_same_encoder(made, tmp_path):
    states = []
    for name, table in (("a", made.table), ("b", turned(made.table))):
        config = PretrainConfig(**SMALL, epochs=2)
        inputs = {"table": table, "sequences": made.sequences}
        pretrain(config, tmp_path / name, **inputs, phylogeny=made.phylogeny, **QUIET)
        states.append((tmp_path / name / model_folder.WEIGHTS).read_bytes())
    assert states[0] == states[1]


def test_matrix_and_tree_learn_the_same(made, tmp_path):
    """A matrix of scikit-bio's UniFrac gives the losses that the tree gives."""
    table = made.table.rarefy(300, 42, silent)
    counts = table.counts.toarray()
    square = np.zeros((len(counts), len(counts)))
    for i, j in itertools.combinations(range(len(counts)), 2):
        square[i, j] = square[j, i] = unweighted_unifrac(
            counts[i], counts[j], list(table.feature_ids), made.tree
        )
    config = PretrainConfig(**SMALL | {"rarefy_depth": 0}, epochs=1)
    inputs = {"table": table, "sequences": made.sequences} | QUIET
    pretrain(config, tmp_path / "tree", **inputs, phylogeny=made.phylogeny)
    pretrain(
        config,
        tmp_path / "matrix",
        **inputs,
        distances=(list(table.sample_ids), square),
    )
    first, second = (
        model_folder.read_history(tmp_path / name) for name in ("tree", "matrix")
    )
    pd.testing.assert_frame_equal(first, second, rtol=1e-3)


def test_pretraining_goes_on_from_an_encoder(made, encoder, tmp_path):
    config = PretrainConfig(**SMALL | {"lr": 1e-5}, epochs=1, unifrac_metric="weighted")
    pretrain(
        config,
        tmp_path / "e",
        **shared(made),
        phylogeny=made.phylogeny,
        encoder=encoder,
        **QUIET,
    )
    first = model_folder.read_history(encoder)["val_loss"]
    further = model_folder.read_history(tmp_path / "e")["val_loss"]
    assert further[0] < (first.iloc[0] + first.min()) / 2
    assert further[0] == pytest.approx(first.min(), rel=0.1)


def test_faith_pd_and_counts_are_learned(made, tmp_path):
    config = PretrainConfig(
        **SMALL, epochs=6, unifrac_metric="faith_pd", count_prediction=True
    )
    pretrain(config, tmp_path / "e", **shared(made), phylogeny=made.phylogeny, **QUIET)
    history = model_folder.read_history(tmp_path / "e")
    for loss in ("unifrac_loss", "count_loss"):
        train_loss = history[f"train_{loss}"]
        assert train_loss.iloc[-1] < 0.8 * train_loss.iloc[0]
        assert np.isfinite(history[f"val_{loss}"]).all()


def test_distances_above_one_are_scaled(made, tmp_path):
    generator = np.random.default_rng(0)
    square = generator.uniform(5, 50, (32, 32))
    square = np.triu(square, 1) + np.triu(square, 1).T
    config = PretrainConfig(**SMALL, epochs=1)
    distances = (list(made.table.sample_ids), square)
    pretrain(config, tmp_path / "e", **shared(made), distances=distances, **QUIET)
    saved = model_folder.read_config(tmp_path / "e")
    rows = [list(made.table.sample_ids).index(i) for i in saved["split"]["training"]]
    assert saved["distance"]["scale"] == pytest.approx(square[rows][:, rows].max())


@pytest.mark.behaviour("freeze_base", "task", command="train")
@pytest.mark.parametrize("frozen", [False, True])
@pytest.mark.parametrize("task", ["regression", "classification"])
def test_train_then_predict(made, encoder, tmp_path, task, frozen):
    """`predict` gives for the validation samples exactly what `train` returned."""
    config = config_of(task, freeze_base=frozen)
    validation = train(
        config,
        tmp_path / "m",
        **shared(made),
        metadata=made.metadata,
        encoder=encoder,
        **QUIET,
    ).predictions
    model_folder.check_layout(tmp_path / "m", "max")
    found = predict(PredictConfig(), tmp_path / "m", **shared(made), **QUIET)
    assert list(found.predictions.index) == list(made.table.sample_ids)
    same = found.predictions.loc[validation.index]
    if task == "regression":
        np.testing.assert_allclose(same, validation, rtol=1e-4)
    else:
        assert same.equals(validation)
        np.testing.assert_allclose(found.details.sum(axis=1), 1)
    if frozen:
        kept = load_networks(tmp_path / "m")[0].base.state_dict()
        for name, tensor in load_encoder(encoder).state_dict().items():
            assert torch.equal(kept[name], tensor), name


def test_a_trained_model_beats_the_mean(made, tmp_path):
    """The transformers alone find the signal of the generated study from scratch."""
    made = generate.study(samples=80, seed=1)
    options = {"epochs": 30, "patience": 30, "lr": 2e-3, "nuc_penalty": 0.0}
    options |= {"pooled_features": 0}
    config = config_of(**options)
    found = train(
        config, tmp_path / "m", **shared(made), metadata=made.metadata, **QUIET
    ).predictions
    true = made.metadata.loc[found.index, "value"]
    error = ((true - found["value"]) ** 2).mean()
    assert error < 0.1 * true.var(ddof=0)


def test_predictions_do_not_depend_on_order_or_company(made, tmp_path):
    train(config_of(), tmp_path / "m", **shared(made), metadata=made.metadata, **QUIET)

    def values(table):
        inputs = {"table": table, "sequences": made.sequences}
        found = predict(PredictConfig(batch_size=5), tmp_path / "m", **inputs, **QUIET)
        return found.predictions["value"]

    whole = values(made.table)
    other = values(turned(made.table))
    np.testing.assert_allclose(other.loc[whole.index], whole, rtol=1e-5)
    single = values(made.table.take_samples([7]))
    np.testing.assert_allclose(single, whole.iloc[[7]], rtol=1e-5)


def test_predictions_are_in_the_order_of_the_table(made, tmp_path):
    """Also where a sample has fewer reads than those of training: it is told."""
    options = {"epochs": 1}
    path = tmp_path / "m"
    train(config_of(**options), path, **shared(made), metadata=made.metadata, **QUIET)
    table = turned(made.table)
    (poor,) = np.flatnonzero(table.sample_ids == "s07")
    table.counts.data[slice(*table.counts.indptr[poor : poor + 2])] //= 2
    said, given = [], {"table": table, "sequences": made.sequences}
    found = predict(PredictConfig(), path, **given, report=said.append)
    (line,) = (text for text in said if "fewer than 300 reads" in text)
    assert "predicted with what they have: 's07'" in line
    expected = list(table.sample_ids)
    assert expected != sorted(expected)
    assert list(found.predictions.index) == expected
    assert list(found.details.index) == expected


def test_sequences_as_ids_and_hashed_ids_are_the_same(made, tmp_path):
    plain = dataclasses.replace(
        made.table,
        feature_ids=np.array(
            [made.sequences[i] for i in made.table.feature_ids], dtype=object
        ),
    )
    config = config_of()
    a = train(
        config, tmp_path / "a", **shared(made), metadata=made.metadata, **QUIET
    ).predictions
    b = train(
        config, tmp_path / "b", table=plain, metadata=made.metadata, **QUIET
    ).predictions
    pd.testing.assert_frame_equal(a, b)


def test_validation_samples_leave_no_trace_in_the_model(made, tmp_path):
    """Other targets and categories of validation samples change no weight.

    They do choose the weight of a linear model; see test_linear_part.py.
    """
    options = {"best_metric": "val_loss", "epochs": 1}
    config = config_of(categorical_columns=("site",), **options)
    train(config, tmp_path / "a", **shared(made), metadata=made.metadata, **QUIET)
    changed = made.metadata.copy()
    held_out = model_folder.read_config(tmp_path / "a")["split"]["validation"]
    changed.loc[held_out, "value"] = np.arange(len(held_out)) + 1000.0
    changed.loc[held_out, "site"] = "elsewhere"
    train(config, tmp_path / "b", **shared(made), metadata=changed, **QUIET)
    a, b = ((tmp_path / n / model_folder.WEIGHTS).read_bytes() for n in "ab")
    assert a == b


@pytest.mark.behaviour("unknown_categories", command="predict")
def test_covariates_are_used_and_checked_at_prediction(made, tmp_path):
    config = config_of(categorical_columns=("site",))
    inputs = shared(made)
    held_out = train(
        config, tmp_path / "m", **inputs, metadata=made.metadata, **QUIET
    ).predictions
    known = predict(
        PredictConfig(), tmp_path / "m", **inputs, metadata=made.metadata, **QUIET
    ).predictions
    # validation in training had the covariates, too
    np.testing.assert_allclose(known.loc[held_out.index], held_out, rtol=1e-4)
    other = made.metadata.assign(site=np.roll(made.metadata["site"], 1))
    changed = predict(
        PredictConfig(), tmp_path / "m", **inputs, metadata=other, **QUIET
    ).predictions
    moved = (other["site"] != made.metadata["site"]).to_numpy()
    assert (changed["value"] != known["value"])[moved].all()
    with pytest.raises(InputError, match="site"):
        predict(PredictConfig(), tmp_path / "m", **inputs, **QUIET)
    strange = made.metadata.assign(site="moon")
    with pytest.raises(InputError, match=r"'moon'.*unknown_categories"):
        predict(PredictConfig(), tmp_path / "m", **inputs, metadata=strange, **QUIET)
    lines = []
    ignoring = PredictConfig(unknown_categories="ignore")
    predict(ignoring, tmp_path / "m", **inputs, metadata=strange, report=lines.append)
    assert any("moon" in line for line in lines)


def test_bf16_reaches_training_and_validation(made, tmp_path, monkeypatch):
    seen = []
    plain = Encoder.encode_samples

    def watched(self, asv_UD, batch):
        states = plain(self, asv_UD, batch)
        seen.append((self.training, self.count_head(states).dtype))
        return states

    monkeypatch.setattr(Encoder, "encode_samples", watched)
    config = config_of(mixed_precision="bf16", epochs=1)
    train(config, tmp_path / "m", **shared(made), metadata=made.metadata, **QUIET)
    assert (True, torch.bfloat16) in seen
    assert (False, torch.bfloat16) in seen


@pytest.mark.behaviour("best_metric")
@pytest.mark.parametrize(
    ("task", "metric"),
    [
        ("regression", "rmse"),
        ("regression", "pearson"),
        ("classification", "balanced_accuracy"),
        ("classification", "recall"),
    ],
)
def test_best_metric_selects_the_saved_epoch(made, tmp_path, task, metric):
    config = config_of(task, best_metric=metric, epochs=4)
    train(config, tmp_path / "m", **shared(made), metadata=made.metadata, **QUIET)
    scores = model_folder.read_history(tmp_path / "m")[f"val_{metric}"]
    best = scores.min() if metric == "rmse" else scores.max()
    epoch = model_folder.read_config(tmp_path / "m")["best_epoch"]
    assert scores[epoch - 1] == best


@pytest.mark.parametrize("metric", ["r2", "pearson"])
def test_no_epoch_is_chosen_by_what_is_not_defined(made, tmp_path, metric):
    config = config_of(best_metric=metric, test_size=0.01)
    reads = {"metadata": made.metadata, **shared(made), **QUIET}
    with pytest.raises(InputError, match=rf"{metric} is not defined .*mae or val_loss"):
        train(config, tmp_path / "m", **reads)
    alike = made.metadata.assign(value=1.0)
    alike.iloc[0, alike.columns.get_loc("value")] = 2.0
    config = config_of(best_metric=metric, seed=1)
    with pytest.raises(InputError, match="samples of a single value"):
        train(config, tmp_path / "m", **reads | {"metadata": alike})


@pytest.mark.behaviour("batch_size", "penalty")
@pytest.mark.parametrize("command", ["pretrain", "train"])
def test_a_batch_of_one_sample_has_no_distances(made, tmp_path, command):
    one = {"batch_size": 1}
    with pytest.raises(InputError, match="batch_size 1 learns no distances"):
        go(command, made, tmp_path / "m", **one)
    go(command, made, tmp_path / "m", **one, penalty=0.0)
    go(command, made, tmp_path / "faith", **one, unifrac_metric="faith_pd")


@pytest.mark.behaviour("metadata_column", command="train")
def test_quantiles_and_several_targets(made, tmp_path):
    metadata = made.metadata.assign(double=2 * made.metadata["value"] + 5)
    config = config_of(metadata_column=("value", "double"), loss_type="quantile")
    found = train(
        config, tmp_path / "m", **shared(made), metadata=metadata, **QUIET
    ).predictions
    assert list(found.columns) == ["value", "double"]
    details = predict(PredictConfig(), tmp_path / "m", **shared(made), **QUIET).details
    for name in ("value", "double"):
        levels = details[[f"{name}_quantile_{q}" for q in (0.1, 0.5, 0.9)]].to_numpy()
        assert (np.diff(levels) >= 0).all()
        np.testing.assert_allclose(levels[:, 1], details[f"{name}_predicted"])


def test_forest_uses_exactly_the_models_split(made, tmp_path):
    train(config_of(), tmp_path / "m", **shared(made), metadata=made.metadata, **QUIET)
    split = model_folder.read_config(tmp_path / "m")["split"]
    config = ForestConfig(
        metadata_column=("value",), rarefy_depth=300, n_estimators=20, n_jobs=1
    )
    found = rf_baseline(
        config,
        table=made.table,
        metadata=made.metadata,
        training=split["training"],
        **QUIET,
    )
    assert set(found.predictions.index) == set(split["validation"])


def bad(made, match, function=train, **changes):
    """The run is refused with a message, and leaves nothing behind."""
    arguments = shared(made) | {"metadata": made.metadata} | changes
    output = arguments.pop("tmp_path") / "refused"
    config = arguments.pop("config", None)
    if config is None:
        config = config_of() if function is train else PretrainConfig(**SMALL, epochs=1)
    with pytest.raises(InputError, match=match):
        function(config, output, **arguments, **QUIET)
    assert not output.exists()


def test_hashed_ids_without_sequences(made, tmp_path):
    bad(made, "asv000.*sequences", sequences=None, tmp_path=tmp_path)


def test_features_without_sequence(made, tmp_path):
    fewer = {k: v for k, v in made.sequences.items() if k != "asv003"}
    bad(made, "'asv003'.*missing_features", sequences=fewer, tmp_path=tmp_path)
    lines = []
    train(
        config_of(missing_features="drop"),
        tmp_path / "m",
        table=made.table,
        sequences=fewer,
        metadata=made.metadata,
        report=lines.append,
    )
    assert any("asv003" in line for line in lines)


def test_tree_that_lacks_tips(made, tmp_path):
    smaller = made.tree.shear(list(made.sequences)[5:])
    lacking = dataclasses.replace(made, tree=smaller).phylogeny
    bad(made, "'asv000'.*tip", pretrain, phylogeny=lacking, tmp_path=tmp_path)


def test_matrix_that_lacks_samples(made, tmp_path):
    ids = list(made.table.sample_ids)[2:]
    square = 1 - np.eye(len(ids))
    bad(made, "'s00'", pretrain, distances=(ids, square), tmp_path=tmp_path)
    config = PretrainConfig(**SMALL, epochs=1, missing_samples="ignore")
    lines = []
    pretrain(
        config,
        tmp_path / "e",
        **shared(made),
        distances=(ids, square),
        report=lines.append,
    )
    assert any("s00" in line for line in lines)


def test_tree_and_matrix_or_neither(made, tmp_path):
    bad(made, "neither was", pretrain, tmp_path=tmp_path)
    both = {
        "phylogeny": made.phylogeny,
        "distances": (list(made.table.sample_ids), 1 - np.eye(32)),
    }
    bad(made, "both were", pretrain, **both, tmp_path=tmp_path)
    bad(made, "Both", train, **both, tmp_path=tmp_path)


@pytest.mark.parametrize(
    ("columns", "match"),
    [
        ({"value": None}, "value"),
        ({"value": "text"}, "value"),
        ({"value": 3.0}, "value"),
    ],
)
def test_target_missing_not_numeric_or_constant(made, tmp_path, columns, match):
    metadata = made.metadata.assign(**columns)
    if columns["value"] is None:
        metadata = made.metadata.drop(columns="value")
    bad(made, match, metadata=metadata, tmp_path=tmp_path)


def test_too_few_samples(made, tmp_path):
    one = made.table.take_samples([0])
    bad(made, "least two", table=one, tmp_path=tmp_path)
    bad(made, "least", pretrain, table=one, phylogeny=made.phylogeny, tmp_path=tmp_path)


def test_depth_that_no_sample_has(made, tmp_path):
    bad(made, "400", config=config_of(rarefy_depth=10_000), tmp_path=tmp_path)


@pytest.mark.parametrize(
    ("option", "source"),
    [
        ({"unifrac_metric": "weighted"}, None),
        ({"unifrac_metric": "weighted"}, "distances"),
        ({"unifrac_metric": "faith_pd"}, "distances"),
        ({"penalty": 2.0}, None),
        ({"missing_samples": "ignore"}, None),
        ({"missing_samples": "ignore"}, "phylogeny"),
    ],
)
def test_options_that_the_sources_leave_idle(made, tmp_path, option, source):
    (name,) = option
    sources = {
        None: {},
        "phylogeny": {"phylogeny": made.phylogeny},
        "distances": {"distances": (made.table.sample_ids, np.zeros((32, 32)))},
    }[source]
    config = config_of(**option)
    bad(made, f"{name} has no", config=config, tmp_path=tmp_path, **sources)


def test_frozen_base_needs_an_encoder(made, tmp_path):
    bad(
        made,
        "needs a pre-trained",
        config=config_of(freeze_base=True),
        tmp_path=tmp_path,
    )


def test_option_that_contradicts_the_encoder(made, encoder, tmp_path):
    config = config_of(embedding_dim=32)
    bad(
        made,
        "the pre-trained encoder has 16",
        config=config,
        encoder=encoder,
        tmp_path=tmp_path,
    )


def test_results_are_not_overwritten(made, encoder):
    config = PretrainConfig(**SMALL, epochs=1)
    before = (encoder / model_folder.WEIGHTS).read_bytes()
    with pytest.raises(InputError, match="not empty"):
        pretrain(config, encoder, **shared(made), phylogeny=made.phylogeny, **QUIET)
    assert (encoder / model_folder.WEIGHTS).read_bytes() == before
