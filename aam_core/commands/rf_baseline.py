"""The random forest that a model must beat, on exactly the model's samples."""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pandas as pd
from scipy import sparse
from sklearn.ensemble import RandomForestClassifier, RandomForestRegressor
from sklearn.preprocessing import normalize

from aam_core.config import ForestConfig
from aam_core.config.option import option_specs
from aam_core.data import splits
from aam_core.data.confounding import choose_depth, tell_batches
from aam_core.data.missing import with_missing
from aam_core.data.table import FeatureTable
from aam_core.data.targets import check_learnable, read_target
from aam_core.errors import InputError, some
from aam_core.io.strip import check_listed
from aam_core.metrics import classification_metrics, regression_metrics
from aam_core.reporting import Report, silent


@dataclass(frozen=True, eq=False)
class ForestResult:
    """What the forest predicted, and how well."""

    #: index: samples that the forest was not fitted to; one column per target (numbers,
    #: or class labels)
    predictions: pd.DataFrame
    #: classification: one column per class
    probabilities: pd.DataFrame | None
    #: by feature id, the most important first; the mean over folds
    importance: pd.Series
    metrics: dict[str, float]
    training: list[str]
    validation: list[str]


#: Options of the forest that a model brings along where they are at their default.
FROM_MODEL = ("metadata_column", "task", "rarefy_depth", "seed", "missing_scheme")
#: Those of them that may not differ from the model's.
SAME_TARGET = ("metadata_column", "task")


def rf_baseline(
    config: ForestConfig,
    *,
    table: FeatureTable,
    metadata: pd.DataFrame,
    training: Sequence[str] | None = None,
    validation: Sequence[str] | None = None,
    folds: Sequence[Sequence[str]] | None = None,
    report: Report,
) -> ForestResult:
    """Train a random forest on relative abundances and predict held-out samples.

    The result does not depend on the order of samples or features in the table, and
    only training samples decide which features the forest sees.

    Parameters
    ----------
    config : ForestConfig
        Options of the forest, the split and the rarefaction.
    table : FeatureTable
        Counts as they were observed.
    metadata : pandas.DataFrame
        Sample metadata.
    training, validation : sequence of str, optional
        Samples to learn from, such as a model's, and samples to predict. With one of
        them, the other is all other labelled samples; without both: a new split.
    folds : sequence, optional
        Instead of them: samples of each fold, such as a model's. A forest predicts each
        of them, fitted to the others.
    report : callable
        Is told what was left out.

    Returns
    -------
    ForestResult

    Raises
    ------
    InputError
        If samples of the given split are not in the table, lost to rarefaction or
        unlabelled, or as `read_target` and `splits.split` raise it.
    """
    metadata = with_missing(metadata, config.missing_scheme)
    table = table.without_empty_samples(report)
    table = _rarefied(config, table, metadata, report)
    target = read_target(
        metadata, config.metadata_column, config.task, table.sample_ids, report
    ).sort_index()
    if folds is not None:
        return _over_folds(config, table, target, folds)
    if training is None and validation is None:
        training, validation = _new_split(config, metadata, target, report)
    else:
        training, validation = _given_split(target, training, validation)
    return _fitted(config, table, target, training, validation)


def _rarefied(
    config: ForestConfig, table: FeatureTable, metadata: pd.DataFrame, report: Report
) -> FeatureTable:
    """The table at the depth that suits the target, as for `train`."""
    target = read_target(
        metadata, config.metadata_column, config.task, table.sample_ids, silent
    )
    rows = np.flatnonzero(np.isin(table.sample_ids, target.index))
    ids = table.sample_ids[rows]
    groups = splits.read_groups(metadata, config.group_column, ids, report)
    if groups is not None:
        groups = splits.group_names(ids, groups)
    first = target.loc[ids].iloc[:, 0]
    check_learnable(first, groups)
    seed = config.seed
    tell_batches(config.batch_columns, metadata, ids, first, groups, seed, report)
    depths = table.depths[rows]
    depth = choose_depth(config.rarefy_depth, depths, first, groups, seed, report)
    return table.rarefy(depth, seed, report)


def as_trained(
    options: Mapping[str, Any], trained: Mapping[str, Any]
) -> dict[str, Any]:
    """Options of the forest, with the model's where the user chose none.

    Parameters
    ----------
    options : mapping
        What the user chose, or defaults.
    trained : mapping
        The options that the model was trained with.

    Returns
    -------
    dict

    Raises
    ------
    InputError
        If the user chose another target than the model's.
    """
    options = dict(options)
    for spec in option_specs(ForestConfig):
        if spec.name not in FROM_MODEL:
            continue
        chosen = spec.check(options.get(spec.name, spec.default))
        own = spec.check(trained.get(spec.name, spec.default))
        if chosen == spec.default:
            options[spec.name] = own
        elif chosen != own and spec.name in SAME_TARGET:
            raise InputError(
                f"{spec.name} is {chosen!r}, but the model was trained with {own!r}: "
                f"leave {spec.name} out, or leave the model out."
            )
    return options


def samples_of(split: Mapping[str, Any], held_out: str = "folds") -> dict[str, Any]:
    """The samples of a model, as `rf_baseline` takes them.

    Parameters
    ----------
    split : mapping
        Of the model's `config.json`.
    held_out : {'folds', 'others'}
        Whom the forest predicts, as `ForestConfig` describes it.

    Raises
    ------
    InputError
        If the model does not list them.
    """
    check_listed(split)
    if held_out == "others":
        return {"training": [*split["training"], *split["validation"]]}
    if "folds" in split:
        return {"folds": split["folds"]}
    return {name: split[name] for name in ("training", "validation")}


def _over_folds(
    config: ForestConfig,
    table: FeatureTable,
    target: pd.DataFrame,
    folds: Sequence[Sequence[str]],
) -> ForestResult:
    """A forest for each fold, fitted to the others."""
    every = [sample for fold in folds for sample in fold]
    results = []
    for fold in folds:
        others = sorted(set(every) - set(fold))
        sides = _given_split(target, others, list(fold))
        results.append(_fitted(config, table, target, *sides))
    predictions = pd.concat([r.predictions for r in results]).sort_index()
    probabilities = None
    if results[0].probabilities is not None:
        probabilities = pd.concat([r.probabilities for r in results]).sort_index()
        probabilities = probabilities.fillna(0.0)
        probabilities = probabilities[sorted(probabilities)]
    importance = pd.concat([r.importance for r in results], axis=1).fillna(0.0)
    importance = importance.mean(axis=1).rename("importance").rename_axis("id")
    return replace(
        results[0],
        predictions=predictions,
        probabilities=probabilities,
        importance=importance.sort_values(ascending=False, kind="stable"),
        metrics=_metrics(
            config, target.loc[predictions.index], predictions, probabilities
        ),
        training=sorted(every),
        validation=sorted(every),
    )


def _fitted(
    config: ForestConfig,
    table: FeatureTable,
    target: pd.DataFrame,
    training: list[str],
    validation: list[str],
) -> ForestResult:
    """A forest of the training samples, and what it predicts of the others."""
    features, feature_ids = _relative_abundances(table, training + validation)
    seen = np.unique(features[: len(training)].indices)
    features, feature_ids = features[:, seen], feature_ids[seen]
    forest = _forest(config, len(seen))
    forest.fit(features[: len(training)], _values(config, target.loc[training]))
    importance = pd.Series(
        forest.feature_importances_, pd.Index(feature_ids, name="id"), name="importance"
    )
    true = target.loc[validation]
    predictions, probabilities = _predict(
        config, forest, features[len(training) :], true
    )
    return ForestResult(
        predictions=predictions,
        probabilities=probabilities,
        importance=importance.sort_values(ascending=False, kind="stable"),
        metrics=_metrics(config, true, predictions, probabilities),
        training=training,
        validation=validation,
    )


def _new_split(
    config: ForestConfig,
    metadata: pd.DataFrame,
    target: pd.DataFrame,
    report: Report,
) -> tuple[list[str], list[str]]:
    ids = target.index
    classes = config.task == "classification"
    sides = splits.split(
        list(ids),
        config.test_size,
        config.seed,
        labels=target.iloc[:, 0].tolist() if classes else None,
        groups=splits.read_groups(metadata, config.group_column, ids),
        report=report,
    )
    return ids[sides[0]].tolist(), ids[sides[1]].tolist()


def _given_split(
    target: pd.DataFrame,
    training: Sequence[str] | None,
    validation: Sequence[str] | None,
) -> tuple[list[str], list[str]]:
    if validation is None:
        validation = _others(target, training)
    if training is None:
        training = _others(target, validation)
    for side, ids in (("training", training), ("validation", validation)):
        if lost := [i for i in ids if i not in target.index]:
            raise InputError(
                f"{len(lost):,} of {len(ids):,} {side} samples of the given split are "
                "not in the table, have fewer reads than rarefy_depth or have no "
                f"value in the metadata: {some(lost)}. Use the table, metadata and "
                "rarefy_depth that the split was made with."
            )
    if both := sorted(set(training) & set(validation)):
        raise InputError(
            f"{len(both):,} samples are both for training and for validation: "
            f"{some(both)}."
        )
    for side, ids in (("training", training), ("validation", validation)):
        if twice := sorted(i for i, n in Counter(ids).items() if n > 1):
            raise InputError(
                f"{len(twice):,} {side} samples are listed more than once: "
                f"{some(twice)}."
            )
    if len(training) < splits.LEAST_TRAINING or len(validation) == 0:
        raise InputError(
            f"The given split has {len(training)} training and {len(validation)} "
            f"validation samples in the table; at least {splits.LEAST_TRAINING} and 1 "
            "are needed."
        )
    return sorted(training), sorted(validation)


def _others(target: pd.DataFrame, ids: Sequence[str]) -> list[str]:
    """The labelled samples that are not among `ids`."""
    return target.index.difference(ids).tolist()


def _relative_abundances(
    table: FeatureTable, sample_ids: list[str]
) -> tuple[sparse.csr_matrix, np.ndarray]:
    """Fractions of the reads, rows as in `sample_ids`, features sorted by id."""
    rows = pd.Index(table.sample_ids).get_indexer(sample_ids)
    order = np.argsort(table.feature_ids)
    counts = table.counts[rows][:, order].astype(np.float64)
    return normalize(counts, norm="l1"), table.feature_ids[order]


def _values(config: ForestConfig, target: pd.DataFrame) -> np.ndarray:
    """The target as scikit-learn takes it: (n,), or (n, T) for several targets."""
    values = target.to_numpy(np.float64 if config.task == "regression" else str)
    return values[:, 0] if target.shape[1] == 1 else values


def _forest(
    config: ForestConfig, features: int
) -> RandomForestRegressor | RandomForestClassifier:
    per_split = config.features_per_split()
    kind = (
        RandomForestRegressor if config.task == "regression" else RandomForestClassifier
    )
    return kind(
        n_estimators=config.n_estimators,
        max_features=min(per_split, features)
        if isinstance(per_split, int)
        else per_split,
        random_state=config.random_seed,
        n_jobs=config.n_jobs,
    )


def _predict(
    config: ForestConfig,
    forest: RandomForestRegressor | RandomForestClassifier,
    features: sparse.csr_matrix,
    target: pd.DataFrame,
) -> tuple[pd.DataFrame, pd.DataFrame | None]:
    """Predictions, and the probabilities of classes."""
    index = pd.Index(target.index, name="id")
    forest.set_params(n_jobs=1)  # threads would sum over trees in any order
    predicted = forest.predict(features)
    if config.task == "regression":
        return pd.DataFrame(predicted, index, list(target.columns)), None
    classes = forest.classes_.astype(object)
    labels = pd.DataFrame(
        predicted.astype(object), index, list(target.columns), dtype=object
    )
    return labels, pd.DataFrame(forest.predict_proba(features), index, classes)


def _metrics(
    config: ForestConfig,
    target: pd.DataFrame,
    predictions: pd.DataFrame,
    probabilities: pd.DataFrame | None,
) -> dict[str, float]:
    """Scores of predictions of these samples."""
    values = _values(config, target)
    predicted = predictions.to_numpy()
    predicted = predicted[:, 0] if values.ndim == 1 else predicted
    if config.task == "regression":
        return regression_metrics(values, predicted, config.metadata_column)
    classes = probabilities.columns.to_numpy()
    return classification_metrics(values, predicted, probabilities.to_numpy(), classes)
