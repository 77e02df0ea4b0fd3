"""`aam classify`, `regress`, `evaluate` and `summarize`, as a user types them."""

import json
import re

import numpy as np
import pandas as pd
import pytest
import skbio

from aam_core.config import effort
from aam_core.report import page as pages
from aam_core.training.train_session import TrainSession
from tests.commands import aam, has_results_only, inputs

QUICK = ("--effort", "quick", "--device", "cpu", "--group-column", "subject")


@pytest.fixture(scope="module", autouse=True)
def quick():
    """Without the JavaScript, which takes seconds to bundle, and in a few steps."""
    patch = pytest.MonkeyPatch()
    patch.setitem(effort.STEPS, "quick", 6)
    patch.setattr(pages, "javascript", lambda: "const bundle = 0;")
    yield
    patch.undo()


def samples_in(path):
    """The rows of the samples in a page."""
    text = re.search(r'id="data">(.*?)</script>', path.read_text(), re.S)[1]
    return json.loads(text)["samples"]


@pytest.fixture(scope="module")
def classified(files, tmp_path_factory):
    folder = tmp_path_factory.mktemp("classify") / "run"
    taxa = folder.parent / "taxonomy.tsv"
    taxa.write_text("Feature ID\tTaxon\nasv000\tg__Blautia\n")
    given = inputs(files, "table", "sequences", "metadata")
    more = ("--metadata-column", "kind", "--taxonomy", taxa, "--output-dir", folder)
    done = aam("classify", *given, *more, *QUICK)
    assert done.exit_code == 0, done.output
    return folder, done.output


def test_classify_leaves_everything_in_its_folder(classified):
    folder, _ = classified
    assert has_results_only(folder)
    names = ("predictions", "details", "forest_predictions", "forest_details")
    tables = [pd.read_csv(folder / f"{n}.tsv", sep="\t", index_col=0) for n in names]
    for table in tables[1:]:
        assert sorted(table.index) == sorted(tables[0].index)
    assert len(samples_in(folder / "report.html")["rows"]) == 24
    rows = pd.read_csv(folder / "contributions.tsv", sep="\t")
    assert rows["sample"].nunique() == 20  # of effort quick
    assert (folder / "importance.tsv").exists()
    assert "g__Blautia" in (folder / "report.html").read_text()
    log = (folder / "aam.log").read_text()
    assert "q2-aam" in log.splitlines()[-2]  # the verdict
    assert "report.html" in log.splitlines()[-1]


def test_a_report_of_predictions(classified, files, tmp_path):
    folder, _ = classified
    report = tmp_path / "report.html"
    given = [*inputs(files, "metadata"), "--metadata-column", "kind"]
    for name in ("predictions", "details"):
        given += [f"--{name}", folder / f"{name}.tsv"]
        given += [f"--other-{name}", folder / f"forest_{name}.tsv"]
    done = aam("evaluate", *given, "--output", report, "--other-name", "trees")
    assert done.exit_code == 0, done.output
    assert "trees" in report.read_text()
    own, first = samples_in(report), samples_in(folder / "report.html")
    shown = [own["columns"].index(c) for c in ("id", "predicted_1", "predicted_2")]
    again = [first["columns"].index(c) for c in ("id", "predicted_1", "predicted_2")]
    rows = [[row[i] for i in shown] for row in own["rows"]]
    assert sorted(rows) == sorted([row[i] for i in again] for row in first["rows"])
    done = aam("evaluate", *given, "--output", report)
    assert "exists already" in done.output


@pytest.mark.behaviour("missing_scheme", command="evaluate")
def test_the_truth_of_words_that_mean_missing_is_unknown(tmp_path):
    known, predicted = tmp_path / "known.tsv", tmp_path / "predicted.tsv"
    known.write_text("id\tage\na\t1\nb\tnot applicable\nc\t3\n")
    predicted.write_text("id\tage\na\t1.5\nb\t2\nc\t2.5\n")
    given = ["--predictions", predicted, "--metadata", known]
    given += ["--metadata-column", "age", "--output", tmp_path / "page.html"]
    done = aam("evaluate", *given)
    assert "not a number for 'b': 'not applicable'" in done.output
    assert "missing_scheme" in done.output
    done = aam("evaluate", *given, "--missing-scheme", "INSDC:missing")
    assert done.exit_code == 0, done.output
    assert "1 of 3 predicted samples have no known 'age'" in done.output


@pytest.mark.behaviour("name", "other_name", command="evaluate")
def test_names_are_those_of_the_report(classified, files, tmp_path):
    folder, _ = classified
    report = tmp_path / "report.html"
    given = [*inputs(files, "metadata"), "--metadata-column", "kind"]
    given += ["--predictions", folder / "predictions.tsv", "--output", report]
    given += ["--other-predictions", folder / "forest_predictions.tsv"]
    done = aam("evaluate", *given, "--name", "one", "--other-name", "two")
    assert done.exit_code == 0, done.output
    assert "predicted by one and two" in report.read_text()
    done = aam("evaluate", *given, "--name", "one", "--other-name", "one")
    assert "a name of its own" in done.output


def test_numbers_can_be_classes(files, tmp_path):
    ids = pd.read_csv(files / "metadata.tsv", sep="\t", index_col=0).index
    labels = pd.DataFrame({"group": [1, 2] * 12}, ids)
    labels.to_csv(tmp_path / "m.tsv", sep="\t")
    given = ("--metadata", tmp_path / "m.tsv", "--metadata-column", "group")
    given += ("--predictions", tmp_path / "m.tsv")
    for more, word in (((), "R²"), (("--classes",), "balanced accuracy")):
        report = tmp_path / f"{word}.html"
        done = aam("evaluate", *given, *more, "--output", report)
        assert done.exit_code == 0, done.output
        assert word in report.read_text()


def test_a_summary(classified, tmp_path):
    folder, _ = classified
    done = aam("summarize", "--model", folder, "--output", tmp_path / "s.html")
    assert done.exit_code == 0, done.output
    text = (tmp_path / "s.html").read_text()
    for words in ("Members", "Course of training", "Samples of each class of kind"):
        assert words in text


def test_wrong_input_is_told_before_anything_is_written(files, tmp_path):
    given = inputs(files, "table", "sequences", "metadata")
    out = ("--output-dir", tmp_path / "run")
    done = aam("regress", *given, "--metadata-column", "kind", *out, *QUICK)
    assert done.exit_code == 1
    assert "Error: " in done.output
    assert not (tmp_path / "run").exists()


def test_explain_and_its_plot(classified, files, tmp_path):
    folder, _ = classified
    out, report = tmp_path / "run", tmp_path / "plot.html"
    given = [*inputs(files, "table", "sequences"), "--model", folder]
    given += ["--output-dir", out, "--draws", "2", "--members", "kernel,trees"]
    done = aam("explain", *given, "--samples", "s03,s11", "--device", "cpu")
    assert done.exit_code == 0, done.output
    rows = pd.read_csv(out / "contributions.tsv", sep="\t")
    assert sorted(rows["sample"].unique()) == ["s03", "s11"]
    assert has_results_only(out)
    assert list(pd.read_csv(out / "importance.tsv", sep="\t")) == [
        "feature",
        "importance",
    ]
    assert "Sample by sample" in (out / "report.html").read_text()
    taxa = folder.parent / "taxonomy.tsv"
    plot = ("--contributions", out / "contributions.tsv", "--taxonomy", taxa)
    plot += tuple(inputs(files, "tree"))
    done = aam("plot-contributions", *plot, "--output", report, "--top", "40")
    assert done.exit_code == 0, done.output
    assert "g__Blautia" in report.read_text()
    assert "Along the phylogeny" in report.read_text()
    done = aam("plot-contributions", *plot, "--output", report)
    assert "exists already" in done.output
    wrong = ("--contributions", out / "importance.tsv", "--output", tmp_path / "x")
    done = aam("plot-contributions", *wrong)
    assert "importance.tsv" in done.output
    assert not (tmp_path / "x").exists()


@pytest.mark.parametrize("of_model", [True, False])
def test_embed_writes_coordinates_and_distances(classified, files, tmp_path, of_model):
    """Of a model, or of the general encoder of the package."""
    folder, _ = classified
    model = ("--model", folder) if of_model else ()
    given = inputs(files, "table", "sequences")
    out = ("--output-dir", tmp_path / "run")
    done = aam("embed", *given, *model, *out, "--device", "cpu")
    assert done.exit_code == 0, done.output
    assert has_results_only(tmp_path / "run")
    names = ("embedding", "asv_embedding", "distances")
    samples, asvs, distances = (
        pd.read_csv(tmp_path / "run" / f"{n}.tsv", sep="\t", index_col=0) for n in names
    )
    assert len(samples) == 24
    assert len(asvs) == 40
    assert list(distances) == list(distances.index) == list(samples.index)
    np.testing.assert_allclose(distances, distances.T)
    ordination = skbio.OrdinationResults.read(str(tmp_path / "run" / "pcoa.txt"))
    assert list(ordination.samples.index) == list(samples.index)


def test_explain_refuses_before_anything_is_written(classified, files, tmp_path):
    folder, _ = classified
    given = [*inputs(files, "table", "sequences"), "--model", folder]
    given += ["--output-dir", tmp_path / "run"]
    done = aam("explain", *given, "--samples", "nobody")
    assert "no sample 'nobody'" in done.output
    assert not (tmp_path / "run").exists()


def test_an_interrupted_front_door_resumes(classified, files, tmp_path, monkeypatch):
    """Killed in the second fold, it ends as if it had never been."""
    straight, _ = classified
    folder, calls = tmp_path / "run", []
    validate = TrainSession.validate

    def killed(session):
        calls.append(1)
        if len(calls) == 5:  # three epochs of each of three folds
            raise KeyboardInterrupt
        return validate(session)

    given = [*inputs(files, "table", "sequences", "metadata"), *QUICK]
    given += ["--metadata-column", "kind", "--output-dir", folder]
    with monkeypatch.context() as patch:
        patch.setattr(TrainSession, "validate", killed)
        assert aam("classify", *given).exit_code
    assert "--resume-from" in (folder / "aam.log").read_text()
    done = aam("classify", *given, "--resume-from", folder)
    assert done.exit_code == 0, done.output
    assert "resumes after epoch" in (folder / "aam.log").read_text()
    for name in ("predictions", "details", "forest_details"):
        texts = [(path / f"{name}.tsv").read_text() for path in (folder, straight)]
        assert texts[0] == texts[1]
    assert not (folder / "checkpoints" / "last").exists()


def test_groups_are_not_what_is_predicted(files, tmp_path):
    given = inputs(files, "table", "sequences", "metadata")
    more = ("--metadata-column", "kind", "--group-column", "kind")
    done = aam("classify", *given, *more, "--output-dir", tmp_path / "run")
    assert "The groups are the column 'kind'" in done.output
    assert not (tmp_path / "run").exists()
