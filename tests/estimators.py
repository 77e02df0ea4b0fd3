"""What tests of estimators share."""

import numpy as np

import aam_core as aam


def study_of(made, **changes):
    parts = {"sequences": made.sequences, "metadata": made.metadata}
    return aam.Study(made.table, **parts | {"tree": made.tree} | changes)


def close(found, expected, atol=1e-5):
    np.testing.assert_allclose(found, expected, atol=atol)
