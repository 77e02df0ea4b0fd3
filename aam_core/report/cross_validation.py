"""The page of a cross-validation: folds, repeats, and who predicts better."""

import pandas as pd

from aam_core.bootstrap import FEW, Estimate
from aam_core.commands.cross_validation_scores import (
    BESIDE,
    Comparison,
    compare,
    summary,
)
from aam_core.commands.evaluate import CHANCE
from aam_core.io.cross_validation import (
    ALL,
    FOREST,
    METHODS,
    NAMES,
    OURS,
    CrossValidated,
)
from aam_core.report import fold_charts
from aam_core.report.evaluation import NAMES as SCORES
from aam_core.report.evaluation import (
    NO_BREAK,
    charts_sections,
    shown,
    verdict,
    with_metadata,
)
from aam_core.report.page import Figure, Grid, Page, Section, Table, unchecked


@unchecked()
def cross_validation_page(
    found: CrossValidated, compared: Comparison | None = None
) -> Page:
    """A page of a cross-validation.

    Parameters
    ----------
    found : CrossValidated
        What `cross_validate` returned.
    compared : Comparison, optional
        Its scores, if they are there already.
    """
    compared = compared or compare(found)
    run, evaluation = found.run, compared.evaluation
    samples, labels = with_metadata(evaluation)
    lead = f"{len(samples):,} samples"
    if evaluation.grouped:
        lead += f" of {samples['group'].nunique():,} groups"
    lead += (
        f"; {run['repeats']} × {run['folds']} folds, each predicted by q2-aam and a "
        "random forest that were fitted to the same other samples."
    )
    sections = [_comparison(compared), _folds(compared)]
    tables = [
        Table("samples", samples),
        Table("comparison", summary(compared)),
        Table("folds", compared.folds.set_index("labels")),
    ]
    if len(compared.repeats):
        tables.append(Table("repeats", compared.repeats.set_index("labels")))
    if compared.curve is not None:
        sections.append(_curve(compared))
        tables.append(Table("curve", compared.curve.set_index("labels")))
    sections += _predictions(compared, samples, labels)
    title = f"Cross-validation of {run['column']}"
    return Page(title, lead, sections, tables)


def words_of(found: Comparison) -> str:
    """Who predicts better, whether that is more than noise, and how often."""
    text = verdict(found.evaluation)
    each = [f"{n} of {of} {part}" for part, (n, of) in found.wins.items() if of]
    return f"{text} {NAMES[OURS]} has the lower error in {' and in '.join(each)}."


def _comparison(found: Comparison) -> Section:
    """Mean and SD of each score, paired differences, and wins."""
    table, rows = summary(found), []
    chance = found.evaluation.scores[CHANCE]
    for score, row in table.iterrows():
        cells = [SCORES[score]]
        cells += [_mean(row, who) for who in METHODS]
        kinds = found.paired[score]
        cells += [shown(kinds.get(kind)) for kind in ("difference", "ratio")]
        for part in ("folds", "repeats"):
            of = int(row[part])
            cells.append(f"{int(row[f'better_in_{part}'])} of {of}" if of else "")
        cells.append(_alone(chance.get(score)))
        rows.append(cells)
    if found.coverage is not None:
        inside = ["inside of the 90 % interval", shown(found.coverage)]
        rows.append([*inside, *[""] * (len(rows[0]) - len(inside))])
    columns = ["score", NAMES[OURS], NAMES[FOREST], "difference", "ratio of errors"]
    columns += ["better in folds", "in repeats", "no model"]
    units = "groups" if found.evaluation.grouped else "samples"
    over = "repeats" if len(found.repeats) else "folds"
    guess = "the median"
    if found.run["task"] == "classification":
        guess = "the frequencies of classes"
    caption = (
        f"Mean ± SD over {over}. Difference: q2-aam less forest, the mean over "
        f"repeats, with a 95 % bootstrap interval over {units}. Better in: where "
        f"q2-aam has the better score. No model: {guess} of these very samples. Folds "
        "share most of their training samples, so that how many are won is no test: "
        "the interval is."
    )
    title = "q2-aam and the random forest"
    items = [Grid("", columns, rows, caption)]
    return Section(title, words_of(found), items, _notes(found))


def _mean(row: pd.Series, who: str) -> str:
    text = f"{row[f'{who}_mean']:.3g}"
    if pd.notna(row[f"{who}_sd"]):
        text += f" ± {row[f'{who}_sd']:.2g}"
    return text.replace(" ", NO_BREAK)


def _alone(value: Estimate | None) -> str:
    return "" if value is None else f"{value.value:.3g}"


def _notes(found: Comparison) -> list[str]:
    """What a reader has to know before believing any of it."""
    run, samples = found.run, found.evaluation.samples
    notes = []
    if not run["completed"]:
        notes.append(
            f"Not completed: {run['done']:,} of {run['cells']:,} fits are done. Scores "
            "of repeats, and the comparison, are of repeats that are whole, if there "
            "are any."
        )
    kind, number = "samples", len(samples)
    if found.evaluation.grouped:
        kind, number = "groups", samples["group"].nunique()
    if number < FEW:
        notes.append(
            f"Scores of {number} {kind} prove little, however often they are divided "
            f"anew: other {kind} may give quite other ones."
        )
    if not found.evaluation.grouped:
        notes.append(
            "Samples count as independent. If several are of one subject or site, name "
            "its column as groups: else a sample may be predicted by its relatives."
        )
    return [*notes, *run["notes"]]


def _folds(found: Comparison) -> Section:
    table = found.folds[found.folds["labels"] == ALL]
    task = found.run["task"]
    scores = [(name, SCORES[name]) for name in (found.main, BESIDE[task])]
    number = len(table) // len(METHODS)
    caption = "A row a fold, whose samples both predict; the line joins the two."
    if number > fold_charts.FOLDS:
        caption += f" The first {fold_charts.FOLDS} of {number}."
    chart = fold_charts.by_fold(table, list(NAMES.values()), scores)
    return Section("Folds", "", [Figure("Scores by fold", chart, caption)])


def _curve(found: Comparison) -> Section:
    what = SCORES[found.main]
    chart = fold_charts.learning_curve(found.curve, list(NAMES.values()), what)
    repeats = int(found.curve["repeats"].max())
    caption = (
        "Models of fewer training samples (whole groups), on the same held-out folds. "
        f"Vertical lines: ± SD over {repeats} repeats. A curve that still falls at its "
        "right end says that more samples would help."
    )
    title = "Error by number of training samples"
    return Section("Learning curve", "", [Figure(title, chart, caption)])


def _predictions(found: Comparison, samples, labels) -> list[Section]:
    """The charts of an evaluation, of mean predictions."""
    sections = charts_sections(found.evaluation, samples, labels)
    text = (
        "Of each sample, the mean of its predictions over repeats, each by models that "
        "saw neither it nor its group. Means of several models err a little less than "
        "each of them: the scores above are of single ones."
    )
    first = sections[0]
    return [Section(first.title, text, first.items, first.notes), *sections[1:]]
