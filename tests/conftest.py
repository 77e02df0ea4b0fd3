import os
from pathlib import Path

# Small models gain nothing from threads, and lose much where cores are shared. This
# also reaches the processes that tests start.
os.environ["OMP_NUM_THREADS"] = "1"

import pytest


@pytest.fixture(scope="session")
def models(tmp_path_factory):
    """Kind and folder of `tests.models.SORTS`, by name; no test changes them."""
    from tests.models import READY, make_models, models_in

    if READY in os.environ:
        return models_in(Path(os.environ[READY]))
    return make_models(tmp_path_factory.mktemp("models"))
