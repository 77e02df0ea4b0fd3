"""Why an ensemble predicts what it does, in terms of ASVs.

Shapes: N samples, F features, O outputs (targets or classes).
"""

import time
import zlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd

from aam_core.config import ExplainConfig
from aam_core.data.contributions import COLUMNS, LOG_ODDS, UNITS
from aam_core.data.study import Study
from aam_core.data.table import FeatureTable
from aam_core.ensemble.many import ManyCommunities, weights_of
from aam_core.ensemble.mixture import NETWORK
from aam_core.ensemble.saved import Ensemble, check_covariates, load_ensemble
from aam_core.ensemble.shapley import (
    Contributions,
    Walk,
    at_each_place,
    averaged,
    pair,
    traced,
)
from aam_core.errors import InputError, some
from aam_core.inference.finite import check_finite
from aam_core.inference.reading import metadata_as_trained, read_as_trained
from aam_core.reporting import Report, duration, logger, progress
from aam_core.runtime.device import choose_device

#: Most samples among which backgrounds are drawn.
MOST_BACKGROUNDS = 500
#: Communities that kernel and trees read at a time.
PIECE = 4096
#: Seconds from which a run says how long it will take.
LONG = 60


@dataclass(frozen=True, eq=False)
class Explanation:
    """What the ASVs contribute.

    Attributes
    ----------
    contributions : pandas.DataFrame
        One row for each sample, target (or class) and ASV, with the columns
        `COLUMNS`. For each sample and target the contributions and the baseline sum up
        to the prediction.
    importance : pandas.DataFrame
        Column `importance` by feature, the largest first: the mean absolute
        contribution over the samples (and classes; of several targets, to the first).
    """

    contributions: pd.DataFrame
    importance: pd.DataFrame


def explain(
    config: ExplainConfig,
    model: Path,
    *,
    table: FeatureTable,
    sequences: Mapping[str, str] | None = None,
    metadata: pd.DataFrame | None = None,
    report: Report = logger.info,
) -> Explanation:
    """Say what each ASV contributes to the predictions of a whole ensemble.

    Parameters
    ----------
    config : ExplainConfig
        All options.
    model : Path
        What `train` wrote.
    table : FeatureTable
        Counts of the samples to explain and of those they are compared with.
    sequences : mapping, optional
        Sequence of each feature id; without it the ids are the sequences.
    metadata : pandas.DataFrame, optional
        Sample metadata, for models with covariates.
    report : callable
        Takes sentences for the user.

    Returns
    -------
    Explanation

    Raises
    ------
    InputError
        If the input or an option is wrong, or there are fewer than two samples.

    Notes
    -----
    Shapley values with other samples of the table as background, by walks (Štrumbelj &
    Kononenko 2014, doi:10.1007/s10115-013-0679-x) in antithetic orders (Mitchell et al.
    2022); see `aam_core.ensemble.shapley`. The scale is that of the target in its own
    units, or the log-odds of a class against all others. Covariates are those of the
    sample all along its walks.
    """
    device = choose_device(config)
    ensemble = load_ensemble(model)
    weights = weights_of(ensemble, config.members)
    outputs = _outputs(ensemble, config.classes)
    _check_samples(config.samples, table)
    study = read_as_trained(
        ensemble.saved, table, sequences, config, report, keep_shallow=True
    )
    ids = study.table.sample_ids
    if len(ids) < 2:
        raise InputError(
            f"{len(ids)} sample is left, but a sample is explained by its difference "
            "from others: give a table with more samples."
        )
    metadata = metadata_as_trained(ensemble.saved, metadata)
    groups = check_covariates(ensemble, config, metadata, ids, report)
    rows = _explained(config, ids, report)
    given = (weights, metadata, groups, config, device, report)
    many = ManyCommunities(ensemble, study, *given)
    report(
        f"Explaining {len(rows):,} samples by {config.draws} others each, with "
        f"{', '.join(f'{n} {w:.0%}' for n, w in weights.items())}."
    )
    pool = Backgrounds(many, config.seed)
    found, began = [], time.monotonic()
    for done, row in enumerate(progress(rows, desc="explain", unit="sample"), start=1):
        found.append(of_sample(many, row, pool.drawn(row, config.draws), config))
        if done == 1:
            _tell_time((time.monotonic() - began) * (len(rows) - 1), report)
    return _explanation(study, many, rows, found, outputs)


def of_sample(
    many: ManyCommunities,
    row: int,
    backgrounds: Sequence[int],
    config: ExplainConfig,
) -> Contributions:
    """What the ASVs contribute to the prediction of one sample.

    Parameters
    ----------
    many : ManyCommunities
        The ensemble.
    row : int
        The sample's row of the study.
    backgrounds : sequence of int
        Rows of the samples that it is compared with.
    config : ExplainConfig
        `network_steps` and `seed`.
    """
    counts = many.study.table.counts
    generator = _generator(many.study, row, config.seed, 1)
    walks: list[Walk] = []
    along: list[dict[str, np.ndarray]] = []
    for other in backgrounds:
        both = pair(counts[other], counts[row], generator)
        walks += both
        along += _classical(many, row, both)
    if many.networks:
        of_network = _network(many, row, backgrounds, walks, config.network_steps)
        for found, values in zip(along, of_network, strict=True):
            found[NETWORK] = values
    values = [
        many.on_scale(found, np.full(len(walk) + 1, row))
        for found, walk in zip(along, walks, strict=True)
    ]
    return averaged(walks, values, counts.shape[1])


def _classical(
    many: ManyCommunities, row: int, walks: Sequence[Walk]
) -> list[dict[str, np.ndarray]]:
    """By member beside the network, what it predicts at all places of some walks."""
    names: list[str] = []

    def read(counts) -> np.ndarray:
        parts = []
        for start in range(0, counts.shape[0], PIECE):
            piece = counts[start : start + PIECE]
            found = many.classical_of(piece, np.full(piece.shape[0], row))
            names[:] = found
            parts.append(np.stack(list(found.values()), axis=1))
        return np.concatenate(parts)

    if many.classical.empty:
        return [{} for _ in walks]
    found = at_each_place(walks, read, many.study.table.shape[1])
    return [dict(zip(names, np.moveaxis(v, 1, 0), strict=True)) for v in found]


def _network(
    many: ManyCommunities,
    row: int,
    backgrounds: Sequence[int],
    walks: Sequence[Walk],
    steps: int,
) -> list[np.ndarray]:
    """What the networks predict along walks, which they read at some places only."""

    def read(counts) -> np.ndarray:
        return many.networks_of(counts, np.full(counts.shape[0], row))

    both = read(many.study.table.counts[[row, *backgrounds]])
    ends = [(start, both[0]) for start in both[1:] for _ in range(2)]
    return traced(walks, read, many.study.table.shape[1], steps, ends)


class Backgrounds:
    """The samples that a sample is compared with.

    They are drawn evenly over what the ensemble predicts of them (systematic sampling,
    in which each has the same chance), so that the mean of few is near to that of all.
    """

    def __init__(self, many: ManyCommunities, seed: int) -> None:
        self.many, self.seed = many, seed
        total = many.study.table.shape[0]
        rows = np.arange(total)
        if total > MOST_BACKGROUNDS:
            rows = np.random.default_rng(seed).permutation(total)[:MOST_BACKGROUNDS]
            rows.sort()
        values = many.predict(many.study.table.counts[rows], rows)
        first = values[:, 0] if values.shape[1] <= 2 else values.argmax(axis=1)
        self.rows = rows[np.lexsort((values.max(axis=1), first))]

    def drawn(self, row: int, draws: int) -> np.ndarray:
        """Rows of the study; a sample is drawn twice only where there are too few."""
        others = self.rows[self.rows != row]
        generator = _generator(self.many.study, row, self.seed, 0)
        places = (np.arange(draws) + generator.random()) * len(others) / draws
        return others[places.astype(int)]


def _generator(study: Study, row: int, seed: int, what: int) -> np.random.Generator:
    """Draws for a sample, by its id: the same in whatever company."""
    name = zlib.crc32(str(study.table.sample_ids[row]).encode())
    return np.random.default_rng([seed, name, what])


def _outputs(ensemble: Ensemble, classes: Sequence[str]) -> dict[str, int]:
    """Place of each target, or of each class that is to be explained."""
    decoder = ensemble.space.decoder
    if decoder.classes is None:
        if classes:
            raise InputError(
                f"classes names {some(classes)}, but the model predicts the numbers "
                f"{some(decoder.columns)}: leave classes out."
            )
        return {name: place for place, name in enumerate(decoder.columns)}
    known = {name: place for place, name in enumerate(decoder.classes.labels)}
    if unknown := [name for name in classes if name not in known]:
        raise InputError(
            f"The model knows no class {some(unknown)} (classes): its classes are "
            f"{some(known)}."
        )
    return {name: known[name] for name in classes or known}


def _check_samples(samples: Sequence[str], table: FeatureTable) -> None:
    known = set(table.sample_ids)
    if unknown := [name for name in samples if name not in known]:
        raise InputError(
            f"The table has no sample {some(unknown)} (samples): name some of "
            f"{some(table.sample_ids)}, or leave samples out."
        )


def _explained(config: ExplainConfig, ids: np.ndarray, report: Report) -> np.ndarray:
    """Rows of the samples to explain, ascending."""
    if config.samples:
        rows = np.flatnonzero(np.isin(ids, config.samples))
        if lost := sorted(set(config.samples) - set(ids)):
            raise InputError(
                f"Samples to explain have no reads (samples): {some(lost)}. Leave "
                "them out."
            )
        return rows
    if len(ids) <= config.max_samples:
        return np.arange(len(ids))
    report(
        f"{config.max_samples:,} of {len(ids):,} samples are explained, drawn at "
        "random (max_samples); all others serve as background."
    )
    drawn = np.random.default_rng(config.seed).permutation(len(ids))
    return np.sort(drawn[: config.max_samples])


def _tell_time(seconds: float, report: Report) -> None:
    if seconds > LONG:
        report(
            f"This will take about {duration(seconds)} more. Fewer samples "
            "(max_samples), draws, or members without the network take less."
        )


def _explanation(
    study: Study,
    many: ManyCommunities,
    rows: Sequence[int],
    found: Sequence[Contributions],
    outputs: Mapping[str, int],
) -> Explanation:
    """The tables."""
    scale = UNITS if many.ensemble.space.decoder.classes is None else LOG_ODDS
    counts, ids = study.table.counts, study.table.feature_ids
    parts = []
    total = np.zeros((study.table.shape[1], len(outputs)))
    places = list(outputs.values())
    for row, one in zip(rows, found, strict=True):
        reads = counts[row, one.features].toarray()[0]
        total[one.features] += np.abs(one.values[:, places])
        for name, place in outputs.items():
            value = one.values[:, place]
            kept = (value != 0) | (reads > 0)
            part = pd.DataFrame(
                {
                    "feature": ids[one.features[kept]],
                    "contribution": value[kept],
                    "standard_error": one.errors[kept, place],
                    "abundance": reads[kept] / study.depths[row],
                }
            )
            constant = {
                "sample": study.table.sample_ids[row],
                "target": name,
                "baseline": one.baseline_O[place],
                "prediction": one.prediction_O[place],
                "scale": scale,
            }
            parts.append(part.assign(**constant)[list(COLUMNS)])
    table = pd.concat(parts, ignore_index=True)
    check_finite(table, table["sample"], "Contributions", "rows of samples")
    total /= len(rows)
    value = total.mean(axis=1) if scale == LOG_ODDS else total[:, 0]
    index = pd.Index(ids, name="feature")
    importance = pd.DataFrame({"importance": value}, index)
    order = importance.sort_values("importance", ascending=False, kind="stable")
    return Explanation(table, order)
