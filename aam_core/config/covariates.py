"""The options of categorical covariates.

Declared as `aam_core.config` describes.
"""

import dataclasses
import json
import math
import typing

from aam_core.config.option import GIVEN, Options, option
from aam_core.errors import InputError, some


@dataclasses.dataclass(frozen=True, kw_only=True)
class CategoricalOptions(Options):
    """Covariates that the prediction is conditioned on."""

    topic: typing.ClassVar[str] = "Categorical covariates"

    categorical_columns: tuple[str, ...] = option(
        (),
        "Categorical metadata columns that the prediction is conditioned on.",
        when="Name season, site, host sex and the like where they bear on the "
        "target and are known for new samples, too.",
    )
    categorical_embed_dim: int = option(
        16,
        "Width of the embedding of each categorical column.",
        low=1,
        high=4096,
        when="Lower it where categories have few samples each; raise it for "
        "columns of very many categories.",
        only_with={"categorical_columns": GIVEN},
    )
    categorical_fusion: str = option(
        "concat",
        "How the categories join the sample; the documentation has a guide "
        "(aam train --categorical-help).",
        choices=("concat", "add", "gmu", "cross-attention", "perceiver"),
        when="Choose add where data are few, gmu where the effect of the "
        "community depends on the category, cross-attention where that of "
        "single ASVs does.",
        only_with={"categorical_columns": GIVEN},
    )
    perceiver_num_latents: int = option(
        64,
        "Learned latents of the perceiver fusion.",
        low=1,
        high=4096,
        when="Lower it for small studies and where memory runs out; raise it for "
        "samples of very many ASVs.",
        only_with={"categorical_columns": GIVEN, "categorical_fusion": ("perceiver",)},
    )
    perceiver_num_layers: int = option(
        2,
        "Layers of self-attention among the latents of the perceiver fusion.",
        low=1,
        high=256,
        when="Lower it for small studies; raise it where samples are many and "
        "the training loss no longer falls.",
        only_with={"categorical_columns": GIVEN, "categorical_fusion": ("perceiver",)},
    )
    cross_attn_heads: int = option(
        8,
        "Attention heads of the cross-attention and perceiver fusions; they must "
        "divide embedding_dim.",
        low=1,
        high=1024,
        when="Change it where it does not divide embedding_dim (the error says "
        "what does), or to let covariates be looked up in more ways.",
        only_with={
            "categorical_columns": GIVEN,
            "categorical_fusion": ("cross-attention", "perceiver"),
        },
    )
    categorical_lr: float | None = option(
        None,
        "Peak learning rate of what reads the categories (embeddings, fusion, "
        "scaling); it follows the schedule of lr.",
        low=0,
        open_low=True,
        shown=lambda: "lr",
        when="Raise it above lr with freeze_base, where the covariates start "
        "from nothing; lower it where categories have few samples.",
        only_with={"categorical_columns": GIVEN},
    )
    categorical_loss_weights: str | None = option(
        None,
        "Weight of the target loss of samples by category: winter=2,summer=1, the "
        "same as a JSON object, or auto (rare categories count more). Categories "
        "that are not named have weight 1.",
        when="Choose auto where one season or site has most of the samples but "
        "all of them matter alike; name weights where one matters more.",
        only_with={"categorical_columns": GIVEN},
    )
    categorical_loss_weight_column: str | None = option(
        None,
        "Which of categorical_columns has the categories of categorical_loss_weights.",
        shown=lambda: "the first of categorical_columns",
        when="Name it where the weights are of another column than the first of "
        "categorical_columns.",
        only_with={"categorical_loss_weights": GIVEN},
    )
    conditional_output_scaling: tuple[str, ...] = option(
        (),
        "Which of categorical_columns scale and shift the prediction: a learned "
        "factor and offset per category.",
        when="Name a column where the level or spread of the target differs "
        "between its categories, as between laboratories or hosts.",
        only_with={"categorical_columns": GIVEN},
    )

    def _check(self) -> None:
        if self.categorical_loss_weights is not None:
            category_weights(self.categorical_loss_weights)
        columns = {
            "categorical_loss_weight_column": (self.loss_weight_column,),
            "conditional_output_scaling": self.conditional_output_scaling,
        }
        for option_name, names in columns.items():
            self._check_columns(option_name, names)

    def _check_columns(self, option_name: str, names: tuple[str | None, ...]) -> None:
        for name in names:
            if name is not None and name not in self.categorical_columns:
                raise InputError(
                    f"{option_name} names {name!r}, which is not among "
                    f"categorical_columns ({some(self.categorical_columns)}): add it "
                    "there, or choose one of them."
                )
        if len(set(names)) < len(names):
            raise InputError(f"{option_name} names a column twice: {some(names)}.")

    @property
    def loss_weight_column(self) -> str | None:
        """The column that weights the target loss, if one does."""
        if self.categorical_loss_weights is None:
            return None
        return self.categorical_loss_weight_column or self.categorical_columns[0]


def category_weights(text: str) -> dict[str, float] | None:
    """The weights that `categorical_loss_weights` states; None for ``auto``.

    Raises
    ------
    InputError
        If it is neither ``auto`` nor a mapping of categories to weights, or no
        weight is above 0.

    Examples
    --------
    >>> from aam_core.config import category_weights
    >>> category_weights("winter=2, summer=1")
    {'winter': 2.0, 'summer': 1.0}
    >>> category_weights('{"winter": 2}')
    {'winter': 2.0}
    """
    if text == "auto":
        return None
    try:
        if text.startswith("{"):
            pairs = json.loads(text, object_pairs_hook=list)
        else:
            pairs = [part.rsplit("=", 1) for part in text.split(",")]
        weights = {name.strip(): float(weight) for name, weight in pairs}
    except (TypeError, ValueError):
        raise InputError(
            f"categorical_loss_weights is {text!r}; allowed are auto, a list such as "
            "winter=2,summer=1, and a JSON object such as "
            '{"winter": 2, "summer": 1}.'
        ) from None
    bad = [name for name, weight in weights.items() if not 0 <= weight < math.inf]
    if bad or len(weights) < len(pairs) or not any(weights.values()):
        raise InputError(
            f"categorical_loss_weights is {text!r}: each category is named once, with "
            "a weight of 0 or more, and one weight at least is above 0."
        )
    return weights


@dataclasses.dataclass(frozen=True, kw_only=True)
class UnknownOptions(Options):
    """What a prediction does with categories it was not trained on."""

    topic: typing.ClassVar[str] = "Categorical covariates"

    unknown_categories: str = option(
        "error",
        "What to do with categories that were not among the training samples: stop, "
        "or treat them as missing.",
        choices=("error", "ignore"),
        when="Choose ignore where new samples come from sites or seasons that "
        "training did not have, and a prediction without them will do.",
    )
