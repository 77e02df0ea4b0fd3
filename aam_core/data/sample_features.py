"""Features of a sample: what all its ASVs are, in a fixed number of numbers.

Each ASV has random Fourier features of its profile (Rahimi & Recht 2007) at several
bandwidths: the narrowest tells an ASV from its close relatives, the widest groups of
ASVs. A sample sums those of its ASVs, once by their log abundances and once by their
presence. Nothing is fitted: features are the same in every study and version.

Shapes: N samples, F features of the table, D numbers of a profile, K random features
of all bandwidths, V = 2 · K.
"""

import numpy as np
from scipy import sparse

from aam_core.data.profiles import PROFILE, hashed, profiles
from aam_core.data.study import Study

#: What the sums are weighted by.
VIEWS = ("abundance", "presence")
#: Squared distances of profiles are divided by that of most pairs of ASVs of a study
#: (1.4 to 1.6 in six studies), and multiplied by these.
BANDWIDTHS, APART = (1.0, 10.0, 60.0), 1.5
#: Abundances are counted as if of so many reads: log10(1 + READS · abundance).
READS = 10_000
PIECE = 4096  #: ASVs that are looked at together


def blocks(features: int) -> int:
    """How many blocks of `features` numbers describe a sample."""
    return len(VIEWS) * len(BANDWIDTHS) if features else 0


def levels(counts: sparse.csr_matrix, view: str) -> sparse.csr_matrix:
    """(N, F) by how much each ASV counts; 0 where it is not.

    Parameters
    ----------
    counts : scipy.sparse.csr_matrix
        (N, F) reads.
    view : {'abundance', 'presence'}
        log10(1 + `READS` · relative abundance), or 1.
    """
    found = counts.astype(np.float64)
    if view == "presence":
        found.data[:] = 1.0
        return found
    depths = np.asarray(counts.sum(axis=1)).ravel()
    depth = np.repeat(depths, np.diff(found.indptr))
    found.data = np.log10(1 + READS * found.data / depth)
    return found


def sample_features(study: Study, features: int) -> np.ndarray:
    """What all ASVs of each sample are.

    Parameters
    ----------
    study : Study
        N samples.
    features : int
        Random features of each bandwidth.

    Returns
    -------
    numpy.ndarray
        (N, V) float32: for each view a block of `features` numbers for each bandwidth.
    """
    counts, profiles_FD = study.table.counts, profiles(study.tokens_FL)
    frequencies_DK, phases_K = random_features(features)
    views = [levels(counts, view) for view in VIEWS]
    found = [np.zeros((counts.shape[0], len(phases_K)), np.float32) for _ in views]
    columns = np.unique(counts.indices)
    for some in np.split(columns, range(PIECE, len(columns), PIECE)):
        of_asvs = np.cos(profiles_FD[some] @ frequencies_DK + phases_K)
        for total_NK, level_NF in zip(found, views, strict=True):
            total_NK += level_NF[:, some] @ of_asvs
    return np.concatenate(found, axis=1)


def asv_features(tokens_FL: np.ndarray, features: int) -> np.ndarray:
    """Random features of each ASV alone, (F, K) float32, for `summed_features`."""
    frequencies_DK, phases_K = random_features(features)
    return np.cos(profiles(tokens_FL) @ frequencies_DK + phases_K)


def summed_features(counts: sparse.csr_matrix, asv_FK: np.ndarray) -> np.ndarray:
    """(N, V) `sample_features`, where the features of the ASVs are known already."""
    parts = [levels(counts, view) @ asv_FK for view in VIEWS]
    return np.concatenate(parts, axis=1, dtype=np.float32)


def random_features(features: int) -> tuple[np.ndarray, np.ndarray]:
    """Frequencies (D, K) and phases (K,), by hashes: the same in every version.

    The mean of the products of two ASVs' features is, up to a factor of 2, a Gaussian
    function of the distance of their profiles.
    """
    total = features * len(BANDWIDTHS)
    bits = hashed(np.arange((2 * PROFILE + 1) * total)).reshape(-1, total)
    uniform = (bits >> np.uint64(11)) / 2.0**53
    first, second = uniform[:PROFILE], uniform[PROFILE:-1]
    # Box & Muller 1958, doi:10.1214/aoms/1177706645
    normal_DK = np.sqrt(-2 * np.log1p(-first)) * np.cos(2 * np.pi * second)
    scale_K = np.sqrt(2 * np.repeat(BANDWIDTHS, features) / APART)
    phases_K = 2 * np.pi * uniform[-1]
    return (normal_DK * scale_K).astype(np.float32), phases_K.astype(np.float32)
