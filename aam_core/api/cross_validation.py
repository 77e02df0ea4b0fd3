"""Repeated folds of a model and a random forest, in one call."""

from pathlib import Path
from typing import Any

from aam_core.api.encoder import Encoder
from aam_core.api.estimator import (
    checked_report,
    checked_study,
    fitted_encoder,
    metadata_of,
    path_of,
    refuse_torchrun,
)
from aam_core.api.results import CrossValidation
from aam_core.api.study import Study
from aam_core.config import CrossValidateConfig
from aam_core.config.signature import takes_options
from aam_core.data.targets import task_of_column
from aam_core.reporting import Report


@takes_options(CrossValidateConfig)
def cross_validate(
    study: Study,
    metadata_column: str,
    *,
    group_column: str | None = None,
    task: str | None = None,
    encoder: Encoder | str | Path | None = None,
    folder: str | Path | None = None,
    report: Report | None = None,
    **options: Any,
) -> CrossValidation:
    """Compare models of a column with random forests, on the same repeated folds.

    Parameters
    ----------
    study : Study
        With metadata.
    metadata_column : str
        What is predicted.
    group_column : str, optional
        Column whose groups are never divided.
    task : {'regression', 'classification'}, optional
        Without, a regression where the column holds numbers.
    encoder : Encoder or path, optional
        Kept as it is. One that was pre-trained on these samples has seen those of each
        fold, though not their labels. None: the general encoder of the package.
    folder : path, optional
        Where each fit is kept, so that the same call resumes after it was interrupted.
    report : callable, optional
        Takes sentences for the user, such as `print`. Without it they go to the logger
        `aam_core`.
    {options}

    Returns
    -------
    CrossValidation

    Raises
    ------
    InputError
        If the input or an option is wrong, before anything is fitted, or the folder
        holds fits of another input.
    """
    metadata = metadata_of(study, "cross_validate")
    refuse_torchrun()
    report = checked_report(report)
    start = fitted_encoder(encoder, checked_study(study), report)
    from aam_core.commands.cross_validate import cross_validate as run

    config = CrossValidateConfig(**options)
    found = run(
        config,
        task=task or task_of_column(metadata, metadata_column, config.missing_scheme),
        column=metadata_column,
        **study.inputs(),
        metadata=metadata,
        group_column=group_column,
        encoder=path_of(start),
        cells=None if folder is None else Path(folder),
        report=report,
    )
    return CrossValidation(found)
