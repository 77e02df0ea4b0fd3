"""Regressor and classifier: they learn to predict sample metadata."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from sklearn.base import ClassifierMixin, RegressorMixin
from sklearn.metrics import accuracy_score, r2_score
from sklearn.utils.validation import check_is_fitted

from aam_core.api.encoder import Encoder
from aam_core.api.study import Study
from aam_core.api.supervised import Predictor
from aam_core.config import PredictConfig, TrainConfig
from aam_core.config.signature import takes_options
from aam_core.reporting import Report


@takes_options(TrainConfig, without=("metadata_column",), task="regression")
class Regressor(RegressorMixin, Predictor):
    """Predicts numbers of the sample metadata from the ASVs of samples.

    Parameters
    ----------
    metadata_column : str or sequence of str
        Column or columns of the sample metadata to predict.
    encoder : Encoder or path, optional
        A pre-trained encoder to start from: fitted, or its folder. One that is not
        fitted yet is first pre-trained, by `fit`, on the same study. None: the
        general encoder of the package, frozen, where `general_encoder` and the other
        options let it.
    {options}

    Attributes
    ----------
    config_ : dict
        What `config.json` says of the model: architecture, options, samples of
        training and validation, scales, versions.
    history_ : pandas.DataFrame
        Losses and scores, one row per epoch.
    scores_ : dict
        The scores of the best epoch, with those of the validation samples (`val_…`).
    val_predictions_ : pandas.DataFrame
        Predictions of samples by members that were not fitted to them, one column per
        target; of `fit` only. With folds (`cross_fit`) these are all labelled samples,
        else the validation samples, of which `predict` makes the same later.
    val_details_ : pandas.DataFrame
        Probabilities of the same, or quantiles and intervals; of `fit` only.
    report_ : list of str
        What the run said.
    encoder_ : Encoder, path or None
        What the run started from; of `fit` only.

    See Also
    --------
    Classifier : Predicts classes.

    Notes
    -----
    Options are checked by `fit`; their defaults are those of `aam train`.
    `sklearn.base.clone` gives a model with the same options that has learned nothing,
    and its `encoder` neither: a folder as `encoder` stays what it is. Pickled and
    copied, a fitted model takes its weights along.

    Examples
    --------
    >>> import numpy as np
    >>> import pandas as pd
    >>> import aam_core as aam
    >>> rng = np.random.default_rng(0)
    >>> asvs = ["".join(rng.choice(list("ACGT"), 30)) for _ in range(8)]
    >>> counts = pd.DataFrame(
    ...     rng.poisson(9, (12, 8)), [f"s{i}" for i in range(12)], asvs
    ... )
    >>> study = aam.Study(counts, metadata=pd.DataFrame({"ph": counts[asvs[0]] / 2}))
    >>> model = aam.Regressor("ph", preset="tiny", rarefy_depth=40, epochs=2)
    >>> model.fit(study, report=lambda line: None)
    Regressor(epochs=2, metadata_column='ph', preset='tiny', rarefy_depth=40)
    >>> model.predict(study).name
    'ph'
    >>> sorted(set(model.scores_) & {"val_r2", "val_mae"})
    ['val_mae', 'val_r2']
    """

    task = "regression"

    def __init__(
        self,
        metadata_column: str | Sequence[str],
        *,
        encoder: Encoder | str | Path | None = None,
        **options: Any,
    ) -> None:
        self._set(metadata_column=metadata_column, encoder=encoder, **options)

    @takes_options(PredictConfig, own=True)
    def score(
        self, study: Study, *, report: Report | None = None, **options: Any
    ) -> float:
        """R² of the predictions, the mean over the targets.

        Parameters
        ----------
        study : Study
            With metadata; samples without a value, or with fewer reads than
            `rarefy_depth`, do not count.
        report, **options
            As for `predict`.

        Returns
        -------
        float
            `sklearn.metrics.r2_score`: 1 is best, 0 is what the mean reaches.

        Raises
        ------
        NotFittedError, InputError
            As `predict`.
        """
        return float(r2_score(*self._true_and_predicted(study, report, options)))


@takes_options(TrainConfig, without=("metadata_column",), task="classification")
class Classifier(ClassifierMixin, Predictor):
    """Predicts a class of the sample metadata from the ASVs of samples.

    Parameters
    ----------
    metadata_column : str
        Column of the sample metadata to predict.
    encoder : Encoder or path, optional
        As of `Regressor`.
    {options}

    Attributes
    ----------
    classes_ : numpy.ndarray of str
        The classes, sorted.
    config_, history_, scores_, val_predictions_, val_details_, report_, encoder_
        As of `Regressor`.

    See Also
    --------
    Regressor : Predicts numbers; notes and an example are there.
    """

    task = "classification"

    def __init__(
        self,
        metadata_column: str,
        *,
        encoder: Encoder | str | Path | None = None,
        **options: Any,
    ) -> None:
        self._set(metadata_column=metadata_column, encoder=encoder, **options)

    @property
    def classes_(self) -> np.ndarray:
        """The classes, sorted: the columns of `predict_proba`."""
        check_is_fitted(self)
        return np.array(self.config_["target"]["classes"]["labels"])

    @takes_options(PredictConfig, own=True)
    def predict_proba(
        self, study: Study, *, report: Report | None = None, **options: Any
    ) -> pd.DataFrame:
        """The probability of each class.

        Parameters
        ----------
        study, report, **options
            As for `predict`.

        Returns
        -------
        pandas.DataFrame
            (samples, classes), columns as `classes_`; rows sum to 1.

        Raises
        ------
        NotFittedError, InputError
            As `predict`.
        """
        found = self._predicted(study, report, options).details
        return found[list(self.classes_)]

    @takes_options(PredictConfig, own=True)
    def score(
        self, study: Study, *, report: Report | None = None, **options: Any
    ) -> float:
        """The fraction of the samples whose class is predicted.

        Parameters
        ----------
        study, report, **options
            As for `Regressor.score`.

        Returns
        -------
        float
            `sklearn.metrics.accuracy_score`, 0 to 1.

        Raises
        ------
        NotFittedError, InputError
            As `predict`.
        """
        true, found = self._true_and_predicted(study, report, options)
        return float(accuracy_score(true.iloc[:, 0], found.iloc[:, 0]))
