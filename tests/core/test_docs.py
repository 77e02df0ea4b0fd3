import importlib.util
import os
import re
import subprocess
import textwrap
from pathlib import Path

import biom
import numpy as np
import pandas as pd
import pytest

from aam_core.cli.guide import COVARIATES
from aam_core.cli.main import main
from aam_core.cli.options import make_config
from aam_core.config import effort
from aam_core.report import page as pages

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


def snippets(page):
    """The blocks of Python of a page."""
    return re.findall(r"^```python\n(.*?)^```", page.read_text(), re.S | re.M)


def run_all(page):
    """Run the blocks of a page one after the other, with few epochs; their names."""
    names = {}
    fewer = "folds=2, repeats=1, effort='quick'"
    for code in snippets(page):
        code = re.sub(r"epochs=\d+, |, epochs=\d+", "", code)
        code = re.sub(r"repeats=\d+", fewer, code)
        exec(re.sub(r"max_samples=\d+", "max_samples=2, draws=2", code), names)
    return names


@pytest.fixture
def here(smaller, tmp_path, monkeypatch):
    """A folder with the files that the tutorial names."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(effort, "MOST", 1)  # epochs
    monkeypatch.setitem(effort.STEPS, "quick", 6)
    monkeypatch.setattr(pages, "javascript", lambda: "const bundle = 0;")
    write_study(smaller)


def test_the_tutorial_in_python(here):
    names = run_all(DOCS / "python.md")
    assert names["samples"].shape == (24, 64)
    assert names["asvs"].shape == (40, 64)
    assert names["difference"]["sample size"] == names["distances"].shape[0] == 24
    assert np.isfinite(names["scores"]).tolist() == [True] * 3
    assert names["folds"].verdict
    assert "g__Blautia" in Path("why.html").read_text()
    assert Path("month.html").exists()


def test_the_tour_in_python(here):
    names = run_all(DOCS.parent / "README.md")
    assert names["model"].config_["target"]["columns"] == ["month"]


def write_study(made):
    """Write them."""
    counts = 10 * made.table.counts.T.toarray()
    for name in ("table", "new-table"):
        table = biom.Table(counts, made.table.feature_ids, made.table.sample_ids)
        Path(f"{name}.biom").write_text(table.to_json("a test"))
    fasta = "".join(f">{name}\n{text}\n" for name, text in made.sequences.items())
    Path("seqs.fasta").write_text(fasta)
    Path("new-seqs.fasta").write_text(fasta)
    made.tree.write("tree.nwk")
    taxa = pd.DataFrame({"Taxon": "g__Blautia"}, made.table.feature_ids)
    taxa.to_csv("taxonomy.tsv", sep="\t", index_label="Feature ID")
    names = {"value": "month", "subject": "host", "site": "body_site"}
    made.metadata.rename(columns=names).to_csv("metadata.tsv", sep="\t")


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


@pytest.mark.parametrize("script", sorted((DOCS / "slurm").glob("*.sh")), ids=str)
def test_a_job_that_is_requeued_resumes(script, tmp_path):
    """Where there is a training state, and only there."""
    (tmp_path / "activate").write_text("")
    (tmp_path / "bin").symlink_to(tmp_path)
    tools = 'srun() { echo "$@"; }; scontrol() { echo here; }\n'
    state = tmp_path / "run" / "checkpoints" / "last" / "state.pt"
    given = len(re.search(r"usage: sbatch \$0 (.*)\"", script.read_text())[1].split())
    environment = {"AAM_ENV": str(tmp_path), "PATH": os.environ["PATH"]}
    environment |= {"SLURM_JOB_NODELIST": "", "SLURM_JOB_ID": "1"}
    environment |= {"SLURM_JOB_NUM_NODES": "1"}
    words = ["file"] * (given - 1) + [str(tmp_path / "run")]
    for there in (False, True):
        if there:
            state.parent.mkdir(parents=True)
            state.write_text("")
        done = subprocess.run(
            ["bash", "-c", tools + script.read_text(), script.name, *words],
            env=environment,
            capture_output=True,
            text=True,
            check=True,
        )
        assert (f"--resume-from {tmp_path / 'run'} " in done.stdout) == there
