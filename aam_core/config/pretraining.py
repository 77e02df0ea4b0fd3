"""The options of self-supervision, and of what was pre-trained.

Declared as `aam_core.config` describes.
"""

import dataclasses
import typing

from aam_core.config.option import Options, option, option_specs
from aam_core.errors import InputError

#: Options of what only an encoder that is trained learns.
TRAINED_BASE = {"freeze_base": (False,)}


@dataclasses.dataclass(frozen=True, kw_only=True)
class LossOptions(Options):
    """What is learned without labels, and the weight of each part."""

    topic: typing.ClassVar[str] = "Self-supervision"

    unifrac_metric: str = option(
        "unweighted",
        "Distance computed from the phylogeny (with a distance matrix: its own).",
        choices=("unweighted", "weighted", "faith_pd"),
        when="Choose weighted where dominant taxa tell the samples apart, "
        "faith_pd where richness is what matters; a distance matrix needs "
        "no choice.",
    )
    penalty: float = option(
        1.0,
        "Weight of the UniFrac loss.",
        low=0,
        when="Set 0 in pretrain to learn from nucleotides alone; lower it in "
        "train where train_unifrac_loss outweighs the target loss.",
        only_with=TRAINED_BASE,
    )
    nuc_penalty: float = option(
        1.0,
        "Weight of the masked-nucleotide loss (off while the base is frozen).",
        low=0,
        when="Set 0 where memory or time is short: masked nucleotides are then "
        "not computed; raise it where val_nuc_accuracy stays low in "
        "pretrain.",
        only_with=TRAINED_BASE,
    )
    count_penalty: float = option(
        1.0,
        "Weight of the abundance loss of count_prediction.",
        low=0,
        when="With count_prediction, lower it where train_count_loss outweighs "
        "the losses that you care about.",
        only_with={"count_prediction": (True,)},
    )
    count_prediction: bool = option(
        False,
        "Also learn the abundance of ASVs whose abundance is masked.",
        when="Turn it on in pretrain where the abundances of ASVs, not just "
        "their presence, bear on the later target.",
        only_with=TRAINED_BASE,
    )
    nuc_mask_ratio: float = option(
        0.15,
        "Fraction of the nucleotides masked and predicted; 0 turns it off.",
        low=0,
        high=1,
        open_high=True,
        when="Raise it where val_nuc_accuracy is near 1 after few epochs, so "
        "that the task stays hard; 0 saves its time.",
        only_with=TRAINED_BASE,
    )
    nuc_mask_strategy: str = option(
        "random",
        "Mask single nucleotides, or spans of neighbours.",
        choices=("random", "span"),
        when="Choose span where single masked nucleotides are guessed too easily "
        "from their neighbours (val_nuc_accuracy near 1).",
        only_with=TRAINED_BASE,
    )

    def _check(self) -> None:
        names = ("nuc_penalty", "nuc_mask_ratio", "nuc_mask_strategy")
        off = next((name for name in names if not getattr(self, name)), None)
        for spec in option_specs(LossOptions):
            value = getattr(self, spec.name)
            if off and spec.name in names and value and value != spec.default:
                raise InputError(
                    f"{spec.name} has no effect with {off} 0, where no nucleotides are "
                    f"masked: leave {spec.name} out, or raise {off}."
                )


@dataclasses.dataclass(frozen=True, kw_only=True)
class BaseOptions(Options):
    """What becomes of a pre-trained encoder."""

    topic: typing.ClassVar[str] = "Pre-trained encoder"

    freeze_base: bool = option(
        False,
        "Keep the encoder as it is and train only what is new; each ASV is then "
        "encoded once per run.",
        when="Turn it on for small studies and first trials with a pre-trained "
        "encoder: epochs are fast and fewer weights can overfit.",
    )
    general_encoder: bool | None = option(
        None,
        "Whether a run starts from the general encoder of the package: as freeze_base "
        "says where this is true; frozen where it is left open.",
        shown=lambda: (
            "true, unless there is an encoder, a phylogeny or distances, sequences "
            "are longer than it reads, or options of the model are given"
        ),
        when="Turn it off to train all of the network on the study's own samples, "
        "which takes far longer; it knows 16S only.",
    )
    target_layers: int = option(
        1,
        "Transformer layers between the encoder and the prediction.",
        low=1,
        high=256,
        when="Raise it with freeze_base, where these layers are all that can "
        "adapt to the target, and samples are many.",
    )
