import importlib.util
import re
import subprocess
import textwrap
from pathlib import Path

import pandas as pd
import pytest

from aam_core.cli.guide import COVARIATES
from aam_core.cli.main import main
from aam_core.cli.options import make_config

DOCS = Path(__file__).parents[2] / "docs"


def test_option_tables_are_current():
    spec = importlib.util.spec_from_file_location("options", DOCS / "make_options.py")
    made = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(made)
    assert (DOCS / "options.md").read_text() == made.markdown(), (
        "run: python docs/make_options.py"
    )
    assert (DOCS / "covariates.md").read_text() == made.COVARIATES


def test_the_example_in_python():
    seasons = ["summer", "winter", "winter", "spring"]
    metadata = pd.DataFrame({"season": seasons, "site": list("abab")}, list("wxyz"))
    code = textwrap.dedent(re.search(r"    from aam_core.*", COVARIATES, re.S)[0])
    names = {"metadata": metadata, "training": ["w", "x", "y"]}
    exec(code, names)
    assert names["indices"].tolist() == [[1, 1], [2, 2], [2, 1], [0, 2]]
    assert names["encoder"].get_cardinalities() == {"season": 3, "site": 3}


@pytest.mark.parametrize("script", sorted((DOCS / "slurm").glob("*.sh")), ids=str)
def test_job_scripts(script, tmp_path):
    """They parse, and what they pass to `aam` is accepted."""
    subprocess.run(["bash", "-n", script], check=True)
    text = script.read_text().replace("\\\n", " ")
    line = next(x for x in text.splitlines() if x.startswith("srun "))
    command, *words = re.split("srun aam | -m aam_core ", line)[1].split()
    words = [word for word in words if word != '"${resume[@]}"']
    (tmp_path / "file").write_text("")
    paths = {"--pretrained-encoder": tmp_path, "--output-dir": tmp_path / "new"}
    words = [
        str(paths.get(words[i - 1], tmp_path / "file")) if w.startswith('"$') else w
        for i, w in enumerate(words)
    ]
    context = main.commands[command].make_context(command, words)
    config = make_config(command, context.params)
    assert config.device == "cuda"
    assert config.memory_profile
