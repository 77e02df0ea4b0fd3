"""What estimators share that learn to predict sample metadata."""

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any, ClassVar

import pandas as pd
from sklearn.utils.validation import check_is_fitted

from aam_core.api.estimator import (
    Estimator,
    checked_report,
    checked_study,
    metadata_of,
)
from aam_core.api.results import Comparison, Explanation
from aam_core.api.study import Study
from aam_core.config import EmbedConfig, ExplainConfig, PredictConfig, TrainConfig
from aam_core.config.option import Options
from aam_core.config.signature import takes_options
from aam_core.data.targets import labelled_target
from aam_core.errors import InputError
from aam_core.reporting import Report

if TYPE_CHECKING:
    from aam_core.commands.predict import Predictions


class Predictor(Estimator):
    """What regressor and classifier share."""

    kind = "model"
    task: ClassVar[str]
    options_class = TrainConfig

    def _checked_options(self) -> TrainConfig:
        given = self._shared(TrainConfig) | {"metadata_column": self._columns()}
        return TrainConfig(**given | {"task": self.task})

    def _columns(self) -> tuple[str, ...]:
        """The target columns; a text is one of them."""
        given = self.metadata_column
        return (given,) if isinstance(given, str) else tuple(given)

    def fit(self, study: Study, *, report: Report | None = None) -> "Predictor":
        """Learn to predict the samples' metadata.

        Parameters
        ----------
        study : Study
            With metadata. Samples without a value are left out. With a tree or
            distances, the distances between samples are learned beside the target.
        report : callable, optional
            Takes sentences for the user, such as `print`. Without it they go to the
            logger `aam_core`.

        Returns
        -------
        Regressor or Classifier
            Itself.

        Raises
        ------
        InputError
            If the input or an option is wrong; before training starts.
        """
        metadata_of(study, "fit")
        found = self._fit(study, report)
        self.val_predictions_, self.val_details_ = found.predictions, found.details
        return self

    def _command(self) -> Callable[..., Any]:
        from aam_core.commands.train import train

        return train

    @takes_options(PredictConfig, own=True)
    def predict(
        self, study: Study, *, report: Report | None = None, **options: Any
    ) -> pd.Series | pd.DataFrame:
        """Predict samples, whose ASVs the model need not have seen.

        Parameters
        ----------
        study : Study
            Samples; metadata only if the model has covariates.
        report : callable, optional
            As for `fit`.
        {options}

        Returns
        -------
        pandas.Series or pandas.DataFrame
            By sample id, in the order of the table: numbers in the target's own units,
            or class labels. A data frame, one column per target, if there are several.
            Samples that have fewer reads than `rarefy_depth` are left out.

        Raises
        ------
        sklearn.exceptions.NotFittedError
            Before `fit`.
        InputError
            If the input or an option is wrong.

        Notes
        -----
        An option that is not given is what it was for `fit`, or else its default.
        """
        found = self._predicted(study, report, options).predictions
        return found.iloc[:, 0] if found.shape[1] == 1 else found

    @takes_options(PredictConfig, own=True)
    def predict_details(
        self, study: Study, *, report: Report | None = None, **options: Any
    ) -> pd.DataFrame:
        """All that is known of each prediction.

        Parameters
        ----------
        study, report, **options
            As for `predict`.

        Returns
        -------
        pandas.DataFrame
            Of a regression for each target its prediction, quantiles and the limits of
            a 90 % prediction interval, in its own units; of a classification the
            probability of each class. Of both, what tells how far to trust it: `reads`
            that were read, `few_reads` (1 where these are fewer than in training), and
            `far_fraction` of them in ASVs that are far from all of training.

        Raises
        ------
        NotFittedError, InputError
            As `predict`.
        """
        return self._predicted(study, report, options).with_reliability()

    @takes_options(EmbedConfig, without=("memory_profile",), own=True)
    def embed(
        self, study: Study, *, report: Report | None = None, **options: Any
    ) -> pd.DataFrame:
        """What the networks of the model read off samples before they predict.

        Parameters
        ----------
        study : Study
            Samples; metadata only if the model has covariates.
        report : callable, optional
            As for `fit`.
        {options}

        Returns
        -------
        pandas.DataFrame
            (samples, width of all networks side by side) float32, in the order of the
            table.

        Raises
        ------
        sklearn.exceptions.NotFittedError
            Before `fit`.
        InputError
            If the input or an option is wrong, or the model has no network.
        """
        from aam_core.ensemble.embedding import embed_by_model

        return self._used(embed_by_model, EmbedConfig, study, report, options)[0]

    @takes_options(ExplainConfig, without=("memory_profile",), own=True)
    def explain(
        self, study: Study, *, report: Report | None = None, **options: Any
    ) -> Explanation:
        """What each ASV contributes to the predictions of samples.

        Parameters
        ----------
        study : Study
            The samples to explain, and others that they are compared with; metadata
            only if the model has covariates. A tree is what the report shows them
            along.
        report : callable, optional
            As for `fit`.
        {options}

        Returns
        -------
        Explanation

        Raises
        ------
        NotFittedError, InputError
            As `predict`.
        """
        from aam_core.commands.explain import explain

        found = self._used(explain, ExplainConfig, study, report, options)
        importance = found.importance["importance"]
        return Explanation(found.contributions, importance, study.phylogeny)

    def compare(self, study: Study, *, report: Report | None = None) -> Comparison:
        """Compare the model with a random forest, on the same folds.

        Parameters
        ----------
        study : Study
            What the model was fitted to.
        report : callable, optional
            As for `fit`.

        Returns
        -------
        Comparison
            Of the predictions `val_predictions_` (of the first target) with those of a
            forest that was fitted to the same training samples: what `aam rf-baseline`
            and `aam evaluate` do.

        Raises
        ------
        sklearn.exceptions.NotFittedError
            Before `fit`.
        InputError
            If the study is another one, or the model was loaded: its predictions of
            samples that it was not fitted to are not in its folder.
        """
        check_is_fitted(self)
        metadata = metadata_of(study, "compare")
        if not hasattr(self, "val_predictions_"):
            raise InputError(
                "The model was loaded, so that its predictions out of fold are not "
                "known: compare right after fit, or use cross_validate."
            )
        from aam_core.commands.comparison import beside_forest
        from aam_core.data.target_decoder import Predictions

        _, found = beside_forest(
            self._held.path,
            Predictions(self.val_predictions_, self.val_details_),
            held_out="folds",
            table=study.table,
            metadata=metadata,
            report=checked_report(report),
        )
        return Comparison(found)

    def _predicted(
        self, study: Study, report: Report | None, options: Mapping[str, Any]
    ) -> "Predictions":
        from aam_core.commands.predict import predict  # torch is slow to import

        return self._used(predict, PredictConfig, study, report, options)

    def _used(
        self,
        command: Callable[..., Any],
        config: type[Options],
        study: Study,
        report: Report | None,
        options: Mapping[str, Any],
    ) -> Any:
        """What a command makes of samples with the model."""
        check_is_fitted(self)
        study = checked_study(study)
        return command(
            self._for_use(config, options),
            model=self._held.path,
            **study.inputs(),
            metadata=study.metadata,
            report=checked_report(report),
        )

    def _true_and_predicted(
        self, study: Study, report: Report | None, options: Mapping[str, Any]
    ) -> tuple[pd.DataFrame, pd.DataFrame]:
        """Truth and prediction of the samples that have both."""
        check_is_fitted(self)
        metadata = metadata_of(study, "score")
        columns = self.config_["target"]["columns"]
        true = labelled_target(
            metadata,
            columns,
            self.config_["task"],
            study.sample_ids,
            checked_report(report),
        )
        found = self._predicted(study.take(true.index), report, options).predictions
        return true.loc[found.index], found
