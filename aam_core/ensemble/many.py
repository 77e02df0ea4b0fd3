"""An ensemble that predicts many communities of the same ASVs.

What the members make of an ASV alone is computed once: its embedding, features, and
what it adds. Communities are rows of reads, made up or real.

Shapes: N samples of the study, R communities, F features, O outputs, K categorical
columns.
"""

from collections.abc import Mapping, Sequence
from dataclasses import replace

import numpy as np
import pandas as pd
import torch
from scipy import sparse

from aam_core.config import ExplainConfig
from aam_core.data.batches import Batch
from aam_core.data.sample_features import asv_features, summed_features
from aam_core.data.study import Study
from aam_core.data.table import FeatureTable
from aam_core.ensemble.community import Community, read_community
from aam_core.ensemble.mixture import NETWORK
from aam_core.ensemble.networks import ReadyNetwork, ready_networks
from aam_core.ensemble.saved import Ensemble, indices_of
from aam_core.errors import InputError
from aam_core.inference.encode import collect
from aam_core.inference.reading import batches_as_trained
from aam_core.reporting import Report

#: Probabilities are at least this before their log-odds are taken.
LEAST = 1e-6
#: Members of less weight are not read: they change nothing that could be seen.
NEGLIGIBLE = 1e-4


class ManyCommunities:
    """Predict communities of the ASVs of a study.

    Parameters
    ----------
    ensemble : Ensemble
        What predicts.
    study : Study
        Its features are those of all communities, its samples bring the covariates.
    weights : mapping
        Of the members that predict; they sum to 1.
    metadata : pandas.DataFrame, optional
        For models with covariates.
    groups : sequence of str, optional
        Category of each sample of the study, where the scale depends on it.
    options : ExplainConfig
        Device, batches and caches of the networks.
    device : torch.device
        Where networks run.
    report : callable
        Takes sentences for the user.
    """

    def __init__(
        self,
        ensemble: Ensemble,
        study: Study,
        weights: Mapping[str, float],
        metadata: pd.DataFrame | None,
        groups: Sequence[str] | None,
        options: ExplainConfig,
        device: torch.device,
        report: Report,
    ) -> None:
        self.ensemble, self.study = ensemble, study
        self.weights, self.groups = dict(weights), groups
        self.options, self.device = options, device
        self.names = self._names()
        ids = study.table.sample_ids
        self._prepare_classical(ids, metadata)
        self.networks: list[ReadyNetwork] = []
        self.asv_FK = None
        if NETWORK in weights:
            given = (options, device, metadata, report)
            self.networks = list(ready_networks(ensemble, study, *given))
            wide = self.networks[0].network.model.shape.pooled_features
            if wide:
                self.asv_FK = asv_features(study.tokens_FL, wide)

    def _names(self) -> list[str]:
        decoder = self.ensemble.space.decoder
        known = decoder.classes
        return list(decoder.columns if known is None else known.labels)

    def _prepare_classical(
        self, ids: np.ndarray, metadata: pd.DataFrame | None
    ) -> None:
        of = self.ensemble.classical
        self.classical = replace(
            of,
            kernel=of.kernel if self._has("kernel") else None,
            trees=of.trees if self._has("trees") else None,
        )
        if self.classical.empty:
            return
        samples = read_community(self.study)
        self.known = self.classical.known(samples)
        self.community = samples
        place = {digest: i for i, digest in enumerate(samples.digests)}
        column = [place[digest] for digest in self.study.digests]
        one = (np.ones(len(column)), (np.arange(len(column)), column))
        self.merge_FF = sparse.csr_matrix(one, (len(column), len(place)))
        self.categories_NK = indices_of(self.ensemble.categories, metadata, ids)

    def _has(self, member: str) -> bool:
        return any(name.partition("-")[0] == member for name in self.weights)

    def classical_of(
        self, counts: sparse.csr_matrix, rows: np.ndarray
    ) -> dict[str, np.ndarray]:
        """What kernel and trees predict, as members are mixed.

        Parameters
        ----------
        counts : scipy.sparse.csr_matrix
            (R, F) reads.
        rows : numpy.ndarray
            (R,) samples of the study whose covariates the communities have.
        """
        if self.classical.empty:
            return {}
        if len(self.community.digests) < counts.shape[1]:
            counts = (counts @ self.merge_FF).tocsr()
            counts.sort_indices()
        categories = self.categories_NK
        categories = None if categories is None else categories[rows]
        made = Community(
            counts, self.community.digests, self.community.profiles_FD, categories
        )
        space = self.ensemble.space
        return {
            name: space.taken(raw, space.decoder, self._groups(rows))
            for name, raw in self.classical.predict(made, self.known).items()
            if name in self.weights
        }

    def networks_of(self, counts: sparse.csr_matrix, rows: np.ndarray) -> np.ndarray:
        """The mean of the networks, as members are mixed; see `classical_of`.

        Networks with the same frozen encoder share what it makes of a sample.
        """
        table = self.study.table
        made = FeatureTable(counts, table.sample_ids[rows], table.feature_ids)
        study = replace(self.study, table=made)
        features_NV = None
        if self.asv_FK is not None:
            features_NV = summed_features(counts, self.asv_FK)
        saved, groups = self.ensemble.saved, self._groups(rows)
        total, space = 0, self.ensemble.space
        for some in self._alike():
            categories = some[0].categories_NK
            categories = None if categories is None else categories[rows]
            maker = batches_as_trained(saved, study, categories, features_NV)
            names = [str(i) for i in range(len(some))]
            every = np.arange(len(rows))
            given = (maker, every, names, self.options, self.device)
            found = collect(self._together(some), *given)
            for name, ready in zip(names, some, strict=True):
                raw = found[name].float().cpu().numpy()
                total = total + space.points(
                    space.taken(raw, ready.network.decoder, groups)
                )
        return total / len(self.networks)

    def _alike(self) -> list[list[ReadyNetwork]]:
        """Networks that share an encoder and the numbers of categories."""
        found: list[list[ReadyNetwork]] = []
        for ready in self.networks:
            last = found[-1][0] if found else None
            if (
                last is not None
                and last.network.model.base is ready.network.model.base
                and np.array_equal(last.categories_NK, ready.categories_NK)
            ):
                found[-1].append(ready)
            else:
                found.append([ready])
        return found

    @staticmethod
    def _together(some: Sequence[ReadyNetwork]):
        def of_batch(batch: Batch) -> dict[str, torch.Tensor]:
            base = some[0].network.model.base(batch, some[0].asvs(batch))
            return {
                str(i): ready.network.model(
                    batch, base=base, added_UO=ready.added(batch)
                )["target"]
                for i, ready in enumerate(some)
            }

        return of_batch

    def _groups(self, rows: np.ndarray) -> list[str] | None:
        return None if self.groups is None else [self.groups[row] for row in rows]

    def on_scale(self, found: Mapping[str, np.ndarray], rows: np.ndarray) -> np.ndarray:
        """(R, O) predictions of the mix: the target's units, or log-odds of classes.

        Parameters
        ----------
        found : mapping
            By member, what `classical_of` and `networks_of` returned.
        rows : numpy.ndarray
            As there.
        """
        space, decoder = self.ensemble.space, self.ensemble.space.decoder
        point = space.point(found, self.weights)
        if decoder.classes is not None:
            return log_odds(decoder.probabilities(point))
        if decoder.quantiles:
            point = np.repeat(point[..., None], len(decoder.quantiles), axis=-1)
        return decoder.point(point, self._groups(rows))

    def predict(self, counts: sparse.csr_matrix, rows: np.ndarray) -> np.ndarray:
        """(R, O) predictions of communities with the covariates of some samples."""
        found = self.classical_of(counts, rows)
        if self.networks:
            found[NETWORK] = self.networks_of(counts, rows)
        return self.on_scale(found, rows)


def log_odds(probabilities: np.ndarray) -> np.ndarray:
    """Log-odds of each class against all others; probabilities within `LEAST`."""
    inside = probabilities.clip(LEAST, 1 - LEAST)
    return np.log(inside) - np.log1p(-inside)


def weights_of(ensemble: Ensemble, members: Sequence[str]) -> dict[str, float]:
    """Weights of some members, which sum to 1; of all without any named.

    Members of less weight than `NEGLIGIBLE` are left out.

    Raises
    ------
    InputError
        If the model has no such member, or none of them has weight.
    """
    known = {name.partition("-")[0] for name in ensemble.weights}
    if missing := [m for m in members if m not in known]:
        raise InputError(
            f"The model has no member {', '.join(missing)} (members): it has "
            f"{', '.join(sorted(known))}."
        )
    found = {
        name: weight
        for name, weight in ensemble.weights.items()
        if weight >= NEGLIGIBLE and (not members or name.partition("-")[0] in members)
    }
    if not found:
        raise InputError(
            f"The weight of {', '.join(members)} (members) is 0 in this model, so that "
            "there is nothing to explain: name others, or leave members out."
        )
    total = sum(found.values())
    return {name: weight / total for name, weight in found.items()}
