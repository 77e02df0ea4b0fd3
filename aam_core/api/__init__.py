"""The engine for Python users, with the conventions of scikit-learn.

All of it is offered by `aam_core` itself, which loads it when it is asked for. Nothing
here imports torch before something is fitted or used.
"""

from pathlib import Path

from aam_core.api.cross_validation import cross_validate
from aam_core.api.encoder import Encoder
from aam_core.api.estimator import Estimator
from aam_core.api.held_folder import HeldFolder
from aam_core.api.predictors import Classifier, Regressor
from aam_core.api.study import Study
from aam_core.errors import InputError
from aam_core.io.model_folder import check_layout, read_config
from aam_core.io.run_layout import model_in

__all__ = ["Classifier", "Encoder", "Regressor", "Study", "cross_validate", "load"]

#: By the task of what a folder holds.
CLASSES = {None: Encoder, "regression": Regressor, "classification": Classifier}


def load(folder: str | Path) -> Encoder | Regressor | Classifier:
    """A fitted estimator from its folder.

    Parameters
    ----------
    folder : path
        What `save` wrote, the output folder of `aam pretrain` or `aam train`, or an
        artifact that `qiime tools export` wrote. It is read whenever the estimator is
        used, so leave it where it is.

    Returns
    -------
    Encoder, Regressor or Classifier
        Fitted, with the options that it was trained with. To use it on another device,
        ``load(folder).set_params(device="auto")``.

    Raises
    ------
    InputError
        If the folder holds no encoder or model that this version can read.

    Examples
    --------
    >>> import aam_core as aam
    >>> aam.load("no-such-folder")
    Traceback (most recent call last):
        ...
    aam_core.errors.InputError: no-such-folder is no encoder or model: it has no \
config.json. Name the directory that pretrain or train wrote.
    """
    path = model_in(Path(folder))
    if path.is_file():
        raise InputError(
            f"{path} is a file, not a folder: export an artifact first, by qiime tools "
            "export."
        )
    config = read_config(path)
    check_layout(path, "min")
    estimator = _with_options(CLASSES[config["task"]], config)
    estimator._hold(HeldFolder(path))
    return estimator


def _with_options(kind: type[Estimator], config: dict) -> Estimator:
    """An estimator with the options of `config.json`; others have their defaults."""
    saved = {
        n: tuple(v) if isinstance(v, list) else v for n, v in config["options"].items()
    }
    if kind is not Encoder:
        columns = saved["metadata_column"]
        saved["metadata_column"] = columns[0] if len(columns) == 1 else columns
    names = kind._get_param_names()
    return kind(**{name: value for name, value in saved.items() if name in names})
