"""What is fitted for one run: scaled targets have to fit into single precision."""

import numpy as np
import pandas as pd
import pytest

from aam_core.config import TrainConfig
from aam_core.data.labels import fit_labels
from aam_core.errors import InputError
from aam_core.reporting import silent

VALUES = np.arange(1.0, 9.0)


def labels_of(values, transform):
    ids = [f"s{i}" for i in range(len(values))]
    target = pd.DataFrame({"ph": values}, index=ids)
    config = TrainConfig(metadata_column=("ph",), target_transform=transform)
    return fit_labels(config, target, target, np.arange(len(values) - 1), silent)


@pytest.mark.parametrize(
    ("values", "transform", "message"),
    [
        (VALUES * 1e50, "none", r"'ph' holds 1e\+50, .* would overflow.*of .*none"),
        (VALUES * 1e-20, "none", "too near to each other .* of target_transform none"),
        (VALUES * 1e-200, "zscore", "too near to each other"),
        (np.r_[VALUES * 1e-9, 1e9], "minmax", r"'ph' holds 1000000000\.0 \(.*'s8'\)"),
    ],
)
def test_targets_that_training_cannot_hold_are_refused(values, transform, message):
    with pytest.raises(InputError, match=message):
        labels_of(values, transform)


@pytest.mark.parametrize("factor", [1e50, 1e-200, 1e-20, 1.0])
def test_minmax_holds_all_others(factor):
    found = labels_of(VALUES * factor, "minmax").values[:, 0]
    np.testing.assert_allclose(found, (VALUES - 1) / 6, rtol=1e-6)
