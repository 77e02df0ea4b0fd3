"""What estimators find beside predictions: comparisons and reasons, and their pages."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pandas as pd

from aam_core.config import ContributionPageOptions
from aam_core.data.phylogeny import Phylogeny
from aam_core.errors import InputError

if TYPE_CHECKING:
    from aam_core.commands.evaluate import Evaluation
    from aam_core.io.cross_validation import CrossValidated
    from aam_core.report.page import Page


def _save(page: "Page", path: str | Path) -> None:
    """Write a page to a new file."""
    from aam_core.report.page import write_page

    path = Path(path)
    if path.exists():
        raise InputError(f"{path} exists already: choose another name.")
    write_page(page, path)


class _Compared:
    """What has scores and a verdict, and is shown by them in a notebook."""

    scores: pd.DataFrame
    verdict: str

    def __repr__(self) -> str:
        """The verdict."""
        return f"{type(self).__name__}: {self.verdict}"

    def _repr_html_(self) -> str:
        """The verdict and the scores."""
        return f"<p>{self.verdict}</p>{self.scores.to_html()}"


@dataclass(frozen=True, eq=False, repr=False)
class Comparison(_Compared):
    """A model beside a random forest, on samples that neither was fitted to.

    Attributes
    ----------
    predictions : pandas.DataFrame
        By sample id: `true`, and of the model (1) and the forest (2) `predicted_1`,
        `error_1` (or `right_1`), `predicted_2`, …
    scores : pandas.DataFrame
        Each score of both, and the paired difference and ratio, with the limits of a
        95 % bootstrap interval (over groups where there are some).
    verdict : str
        Who predicts better, and whether that is more than noise.
    """

    evaluation: "Evaluation"

    @property
    def predictions(self) -> pd.DataFrame:
        """What both predict."""
        return self.evaluation.samples

    @property
    def scores(self) -> pd.DataFrame:
        """Scores and differences, with intervals."""
        from aam_core.report.evaluation import score_rows

        return score_rows(self.evaluation)

    @property
    def verdict(self) -> str:
        """Who predicts better."""
        from aam_core.report.evaluation import verdict

        return verdict(self.evaluation)

    def save_report(self, path: str | Path) -> None:
        """Write the page that `aam evaluate` makes, one HTML file.

        Raises
        ------
        InputError
            If the file exists.
        """
        from aam_core.report.evaluation import evaluation_page

        title = f"Prediction of {self.evaluation.column}"
        _save(evaluation_page(self.evaluation, title), path)


@dataclass(frozen=True, eq=False, repr=False)
class CrossValidation(_Compared):
    """Models and forests on the same repeated folds.

    Attributes
    ----------
    predictions : pandas.DataFrame
        A row for each sample, repeat and number of labels; see
        `aam_core.io.cross_validation.CrossValidated`.
    scores : pandas.DataFrame
        Of each score mean and SD over repeats of both, the paired difference with its
        95 % bootstrap interval, and in how many folds and repeats q2-aam was better.
    verdict : str
        Who predicts better, and whether that is more than noise.
    """

    found: "CrossValidated"

    @property
    def predictions(self) -> pd.DataFrame:
        """All predictions."""
        return self.found.predictions

    @property
    def scores(self) -> pd.DataFrame:
        """Means over repeats, and differences."""
        from aam_core.commands.cross_validation_scores import compare, summary

        return summary(compare(self.found))

    @property
    def verdict(self) -> str:
        """Who predicts better."""
        from aam_core.commands.cross_validation_scores import compare
        from aam_core.report.cross_validation import words_of

        return words_of(compare(self.found))

    def save_report(self, path: str | Path) -> None:
        """Write the page that `aam evaluate-cross-validation` makes.

        Raises
        ------
        InputError
            If the file exists.
        """
        from aam_core.report.cross_validation import cross_validation_page

        _save(cross_validation_page(self.found), path)


@dataclass(frozen=True, eq=False)
class Explanation:
    """What the ASVs contribute to predictions.

    Attributes
    ----------
    contributions : pandas.DataFrame
        A row for each sample, target (or class) and ASV; with the baseline, the
        contributions of a sample sum up to its prediction.
    importance : pandas.Series
        Mean absolute contribution of each feature, the largest first.
    phylogeny : Phylogeny or None
        Of the study.
    """

    contributions: pd.DataFrame
    importance: pd.Series
    phylogeny: Phylogeny | None = None

    def __repr__(self) -> str:
        """How much there is."""
        samples = self.contributions["sample"].nunique()
        return f"Explanation({samples:,} samples, {len(self.importance):,} features)"

    def _repr_html_(self) -> str:
        """The features that matter most."""
        return self.importance.head(20).to_frame().to_html()

    def save_report(
        self,
        path: str | Path,
        *,
        taxonomy: Mapping[str, str] | None = None,
        top: int = ContributionPageOptions.top,
    ) -> None:
        """Write the page that `aam plot-contributions` makes, one HTML file.

        Parameters
        ----------
        path : path
            New file.
        taxonomy : mapping, optional
            Taxon of each feature id, such as a column of a data frame.
        top : int
            ASVs of the overview.

        Raises
        ------
        InputError
            If the file exists.
        """
        from aam_core.report.contributions import contributions_page

        labels: dict[str, Any] = dict(taxonomy) if taxonomy is not None else {}
        page = contributions_page(
            self.contributions,
            "What ASVs contribute to predictions",
            labels=labels,
            phylogeny=self.phylogeny,
            top=top,
        )
        _save(page, path)
