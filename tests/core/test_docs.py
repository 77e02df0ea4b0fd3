import importlib.util
from pathlib import Path

DOCS = Path(__file__).parents[2] / "docs"


def test_option_tables_are_current():
    spec = importlib.util.spec_from_file_location("options", DOCS / "make_options.py")
    made = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(made)
    assert (DOCS / "options.md").read_text() == made.markdown(), (
        "run: python docs/make_options.py"
    )
    assert (DOCS / "covariates.md").read_text() == made.COVARIATES
