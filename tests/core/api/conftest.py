"""Estimators that several tests read, and none changes."""

import numpy as np
import pytest

import aam_core as aam
from tests.estimators import study_of
from tests.reports import silent
from tests.runs import ONE_NETWORK, SMALL


@pytest.fixture(scope="session")
def whole(made):
    return study_of(made)


@pytest.fixture(scope="session")
def encoder(whole):
    return aam.Encoder(**SMALL).fit(whole, report=silent)


@pytest.fixture(scope="session")
def regressor(whole, encoder):
    options = SMALL | ONE_NETWORK | {"epochs": 2, "group_column": "subject"}
    return aam.Regressor("value", encoder=encoder, **options).fit(whole, report=silent)


@pytest.fixture(scope="session")
def classifier(made):
    """Without a phylogeny, of a study with labels for some samples only."""
    metadata = made.metadata.copy()
    metadata.iloc[:3, metadata.columns.get_loc("kind")] = np.nan
    model = aam.Classifier("kind", **SMALL, **ONE_NETWORK)
    return model.fit(study_of(made, metadata=metadata, tree=None), report=silent)


@pytest.fixture
def fitted(encoder, regressor, classifier):
    return {"encoder": encoder, "regressor": regressor, "classifier": classifier}
