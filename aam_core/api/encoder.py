"""The encoder, which learns without labels."""

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pandas as pd
from sklearn.utils.validation import check_is_fitted

from aam_core.api.estimator import Estimator, checked_report, checked_study
from aam_core.api.study import Study
from aam_core.config import EmbedConfig, PretrainConfig
from aam_core.config.signature import takes_options
from aam_core.reporting import Report

if TYPE_CHECKING:
    import skbio

#: Of no effect on embeddings.
UNUSED = ("memory_profile", "unknown_categories")


@takes_options(PretrainConfig)
class Encoder(Estimator):
    """An encoder of ASVs and samples, pre-trained without labels.

    Parameters
    ----------
    encoder : Encoder or path, optional
        An earlier encoder whose weights are the start: fitted, or its folder.
    {options}

    Attributes
    ----------
    config_ : dict
        What `config.json` says of the encoder: architecture, options, samples of
        training and validation, versions.
    history_ : pandas.DataFrame
        Losses and scores, one row per epoch.
    scores_ : dict
        The scores of the best epoch, by the names of `history_`.
    report_ : list of str
        What the run said.

    See Also
    --------
    Regressor, Classifier : Learn to predict sample metadata from an encoder.

    Notes
    -----
    Options are checked by `fit`; those that are not given there are the defaults of
    `aam pretrain`. `sklearn.base.clone` gives an encoder with the same options that has
    learned nothing. Pickled and copied, a fitted encoder takes its weights along.

    Examples
    --------
    >>> import numpy as np
    >>> import pandas as pd
    >>> import skbio
    >>> import aam_core as aam
    >>> rng = np.random.default_rng(0)
    >>> asvs = ["".join(rng.choice(list("ACGT"), 30)) for _ in range(12)]
    >>> ids = [f"s{i}" for i in range(12)]
    >>> counts = pd.DataFrame(rng.poisson(9, (12, 12)), ids, asvs)
    >>> true = skbio.diversity.beta_diversity("braycurtis", counts.to_numpy(), ids)
    >>> study = aam.Study(counts, distances=true)
    >>> encoder = aam.Encoder(preset="tiny", rarefy_depth=50, epochs=1, device="cpu")
    >>> encoder.fit(study, report=lambda line: None)
    Encoder(device='cpu', epochs=1, preset='tiny', rarefy_depth=50)
    >>> encoder.embed(study).shape
    (12, 64)
    >>> encoder.embed_asvs(study).index[0] == asvs[0]
    True
    >>> encoder.distances(study).shape
    (12, 12)
    """

    kind = "encoder"
    options_class = PretrainConfig

    def __init__(
        self, *, encoder: "Encoder | str | Path | None" = None, **options: Any
    ) -> None:
        self._set(encoder=encoder, **options)

    def fit(self, study: Study, *, report: Report | None = None) -> "Encoder":
        """Learn from samples without labels.

        Parameters
        ----------
        study : Study
            With a tree or distances; metadata only for `group_column`.
        report : callable, optional
            Takes sentences for the user, such as `print`. Without it they go to the
            logger `aam_core`.

        Returns
        -------
        Encoder
            Itself.

        Raises
        ------
        InputError
            If the input or an option is wrong; before training starts.
        """
        self._fit(study, report)
        return self

    def _command(self) -> Callable[..., Any]:
        from aam_core.commands.pretrain import pretrain

        return pretrain

    @takes_options(EmbedConfig, without=UNUSED, own=True)
    def embed(
        self, study: Study, *, report: Report | None = None, **options: Any
    ) -> pd.DataFrame:
        """The embedding of each sample.

        Parameters
        ----------
        study : Study
            Samples, whose ASVs may be others than those of pre-training. They are
            rarefied, and read, as in pre-training.
        report : callable, optional
            As for `fit`.
        {options}

        Returns
        -------
        pandas.DataFrame
            (samples, width) float32. Samples are in the order of the table; those that
            have fewer reads than `rarefy_depth` are left out.

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
        return self._embedded("embed_samples", study, report, options)

    @takes_options(EmbedConfig, without=UNUSED, own=True)
    def embed_asvs(
        self, study: Study, *, report: Report | None = None, **options: Any
    ) -> pd.DataFrame:
        """The embedding of each ASV, which depends on its sequence only.

        Parameters
        ----------
        study : Study
            Where the ASVs are; nothing is rarefied.
        report, **options
            As for `embed`.

        Returns
        -------
        pandas.DataFrame
            (features, width) float32, in the order of the table; features without
            reads are left out.

        Raises
        ------
        NotFittedError, InputError
            As `embed`.
        """
        return self._embedded("embed_asvs", study, report, options)

    @takes_options(EmbedConfig, without=UNUSED, own=True)
    def distances(
        self, study: Study, *, report: Report | None = None, **options: Any
    ) -> "skbio.DistanceMatrix":
        """The distances between samples that the encoder predicts, without a tree.

        Parameters
        ----------
        study, report, **options
            As for `embed`.

        Returns
        -------
        skbio.DistanceMatrix
            (samples, samples) float32, in the units of the distances that the encoder
            learned; samples as of `embed`. Some functions of older versions of
            scikit-bio, such as `mantel`, want two matrices of one type: make it float64
            by ``skbio.DistanceMatrix(d.data.astype(float), d.ids)``.

        Raises
        ------
        NotFittedError, InputError
            As `embed`, and if the encoder has not learned distances (`penalty` 0, or
            Faith's PD).
        """
        return self._embedded("predicted_distances", study, report, options)

    def _embedded(
        self, name: str, study: Study, report: Report | None, options: dict[str, Any]
    ) -> Any:
        check_is_fitted(self)
        study = checked_study(study)
        config = self._for_use(EmbedConfig, options)
        from aam_core.inference import embed  # torch is slow to import

        return getattr(embed, name)(
            config, self._held.path, **study.inputs(), report=checked_report(report)
        )
