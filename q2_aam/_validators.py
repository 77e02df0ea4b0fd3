"""A model's type must be what the model predicts."""

from qiime2.plugin import ValidationError

from q2_aam._formats import AAMModelDirectoryFormat
from q2_aam._types import AAMModel, Classification, Regression
from q2_aam.plugin_setup import plugin


@plugin.register_validator(AAMModel[Regression])
def validate_regression(data: AAMModelDirectoryFormat, level: str) -> None:
    """Refuse a classification."""
    _check_task(data, "regression")


@plugin.register_validator(AAMModel[Classification])
def validate_classification(data: AAMModelDirectoryFormat, level: str) -> None:
    """Refuse a regression."""
    _check_task(data, "classification")


def _check_task(model: AAMModelDirectoryFormat, task: str) -> None:
    from aam_core.io.model_folder import read_config

    found = read_config(str(model))["task"]
    if found != task:
        raise ValidationError(
            f"This model is a {found}: its type is AAMModel[{found.capitalize()}], "
            f"not AAMModel[{task.capitalize()}]."
        )
