"""What encoder, regressor and classifier share: options, a model in a folder."""

import html
import inspect
import os
from abc import abstractmethod
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, ClassVar, TypeVar

import pandas as pd
from sklearn.base import BaseEstimator, clone
from sklearn.utils.validation import check_is_fitted

from aam_core.api.held_folder import HeldFolder
from aam_core.api.study import Study
from aam_core.config.option import Options, option_specs
from aam_core.distributed.launch import LAUNCHED
from aam_core.errors import InputError
from aam_core.io.model_folder import read_config, read_history
from aam_core.io.run_layout import model_in
from aam_core.io.strip import size
from aam_core.io.strip import strip as without_samples
from aam_core.reporting import Report, logger

C = TypeVar("C", bound=Options)
#: Holds for the whole process: what `fit` has asked for need not be asked for again.
OF_THE_PROCESS = ("use_expandable_segments",)


class Estimator(BaseEstimator):
    """Base of the estimators; their options are those that the engine declares."""

    kind: ClassVar[str]  #: of what is fitted: encoder or model
    options_class: ClassVar[type[Options]]

    def _set(self, **params: Any) -> None:
        """Keep parameters as they were given; `fit` checks them."""
        vars(self).update(params)

    def _checked_options(self) -> Any:
        """All options of `fit`, as the engine takes them."""
        return self.options_class(**self._shared(self.options_class))

    def _for_use(self, config: type[C], given: Mapping[str, Any]) -> C:
        """The options of a prediction: those given, or else the estimator's own."""
        shared = self._shared(config)
        for name in OF_THE_PROCESS:
            shared.pop(name, None)
        chosen = {n: value for n, value in given.items() if value is not None}
        return config(**shared | chosen)

    def _shared(self, config: type[Options]) -> dict[str, Any]:
        """The parameters of this estimator that are options of `config`."""
        names = {spec.name for spec in option_specs(config)}
        params = self.get_params(deep=False)
        return {name: value for name, value in params.items() if name in names}

    @abstractmethod
    def _command(self) -> Callable[..., Any]:
        """The engine's function that `fit` calls; torch is slow to import."""

    def _fit(self, study: Study, report: Report | None) -> Any:
        """Train a model in a temporary folder; return what the command returns."""
        study, report = checked_study(study), checked_report(report)
        refuse_torchrun()
        config = self._checked_options()
        start = fitted_encoder(self.encoder, study, report)
        held = HeldFolder()
        found = self._command()(
            config,
            held.path,
            **study.inputs(),
            phylogeny=study.phylogeny,
            distances=study.distances,
            metadata=study.metadata,
            encoder=path_of(start),
            report=report,
        )
        self._hold(held)
        self.encoder_ = start
        return found

    def _hold(self, held: HeldFolder) -> None:
        """Take a model, and what is known of it."""
        self._held = held
        self.config_ = read_config(held.path)
        self.history_ = read_history(held.path)
        self.scores_ = dict(self.config_.get("scores", {}))
        self.report_ = list(self.config_.get("report", []))

    def save(self, folder: str | Path, *, strip: bool = False) -> None:
        """Write the fitted model to a new folder, which `aam_core.load` reads.

        The folder is also what `qiime tools import` and the command `aam` take.

        Parameters
        ----------
        folder : path
            It must be empty or not exist. It appears whole or not at all.
        strip : bool
            Leave out what names samples, as `aam strip` does; it predicts the same.

        Raises
        ------
        sklearn.exceptions.NotFittedError
            Before `fit`.
        InputError
            If there is something already.
        """
        check_is_fitted(self)
        if strip:
            without_samples(self._held.path, Path(folder))
        else:
            self._held.save(Path(folder))

    def _changed(self) -> dict[str, Any]:
        """The parameters that are not the defaults."""
        known = inspect.signature(type(self)).parameters
        params = self.get_params(deep=False)
        # compared as text, since arrays have no single answer
        return {n: v for n, v in params.items() if repr(v) != repr(known[n].default)}

    def _repr_mimebundle_(self, **given: Any) -> dict[str, str]:
        """What a notebook shows: a text and a summary in HTML."""
        return {"text/plain": repr(self), "text/html": self._repr_html_()}

    def _repr_html_(self) -> str:
        """A summary: options that differ from the defaults, samples and scores."""
        rows = dict(self._changed())
        rows |= self._outcome() if hasattr(self, "config_") else {"fitted": "not yet"}
        cells = "".join(
            f"<tr><th style='text-align:left'>{html.escape(str(name))}</th>"
            f"<td style='text-align:left'>{html.escape(_shown(value))}</td></tr>"
            for name, value in rows.items()
        )
        title = html.escape(type(self).__name__)
        return f"<table><caption><b>{title}</b></caption>{cells}</table>"

    def _outcome(self) -> dict[str, Any]:
        """What the summary says of a fitted model."""
        split = self.config_["split"]
        samples = [f"{size(split[n]):,} {n}" for n in ("training", "validation")]
        rows = {"samples": " and ".join(samples)}
        if "folds" in split:
            rows["samples"] = (
                f"{size(split['training']):,} in {len(split['folds'])} folds"
            )
        elif "best_epoch" in self.config_:
            best, last = self.config_["best_epoch"], len(self.history_)
            rows["best epoch"] = f"{best} of {last}"
        ensemble = self.config_.get("ensemble", {})
        for name, weight in ensemble.get("weights", {}).items():
            rows[f"weight of {name}"] = weight
        if not self.config_.get("completed", True):
            rows["completed"] = "no, the run was stopped"
        scores = {n: v for n, v in self.scores_.items() if n.startswith("val_")}
        return rows | scores


def _shown(value: Any) -> str:
    return f"{value:.4g}" if isinstance(value, float) else str(value)


def fitted_encoder(encoder: Any, study: Study, report: Report) -> Any:
    """The encoder that a run starts from: fitted, its folder, or None.

    One that was not fitted yet is a plan: a clone of it is pre-trained on the study.
    """
    if encoder is None:
        return None
    if isinstance(encoder, str | os.PathLike):
        return model_in(Path(encoder))
    if getattr(encoder, "kind", None) != "encoder":
        raise InputError(
            f"encoder is a {type(encoder).__name__}, but must be an Encoder, the "
            "folder of one, or None."
        )
    if hasattr(encoder, "config_"):
        return encoder
    return clone(encoder).fit(study, report=report)


def checked_study(study: Any) -> Study:
    """`study`, or a clear error where it is something else."""
    if not isinstance(study, Study):
        raise TypeError(
            f"study is a {type(study).__name__}: make an aam_core.Study of the table "
            "first, by Study(table, …) or Study.read(path, …)."
        )
    return study


def path_of(encoder: Any) -> Path | None:
    """Where an encoder of `fitted_encoder` lies."""
    return encoder._held.path if isinstance(encoder, Estimator) else encoder


def metadata_of(study: Any, what: str) -> pd.DataFrame:
    """The metadata of a study, or a clear error that says what needs it."""
    found = checked_study(study).metadata
    if found is None:
        raise InputError(
            f"{what} needs the sample metadata, which the study has not: give it to "
            "Study, metadata=…."
        )
    return found


def checked_report(report: Report | None) -> Report:
    """Who hears of a run: the log, if nobody else is named."""
    return logger.info if report is None else report


def refuse_torchrun() -> None:
    """Stop where several processes run this program: each would hold a part."""
    if LAUNCHED in os.environ:
        raise InputError(
            "torchrun has started this program several times, but an estimator starts "
            "its processes itself: run the program without torchrun, with options "
            "strategy and devices, or use the command aam."
        )
