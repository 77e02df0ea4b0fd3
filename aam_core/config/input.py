"""The options of what a run reads, and of its training and validation samples.

Declared as `aam_core.config` describes.
"""

import dataclasses
import typing

from aam_core.config.option import Options, option
from aam_core.errors import InputError


@dataclasses.dataclass(frozen=True, kw_only=True)
class DepthOptions(Options):
    """How many reads of a sample count."""

    topic: typing.ClassVar[str] = "Input"

    rarefy_depth: int | None = option(
        None,
        "Reads drawn at random from each sample; samples with fewer are left out, but "
        "predict takes them as they are. 0 keeps all reads.",
        low=0,
        shown=lambda: (
            "all reads, or a depth that is told where the number of reads "
            "alone predicts the target"
        ),
        when="Set a depth where samples were sequenced in batches of unequal depth, or "
        "to compare with work that rarefied; 0 where depth is meant to tell the "
        "target.",
    )


@dataclasses.dataclass(frozen=True, kw_only=True)
class MetadataOptions(Options):
    """How the sample metadata are read."""

    topic: typing.ClassVar[str] = "Input"

    missing_scheme: str = option(
        "blank",
        "Which values of the sample metadata are missing: those that are empty, or "
        "INSDC's words, too (not applicable, missing, not collected, not provided, "
        "restricted access; in any case, and with the reason behind 'missing:'). A "
        "`#q2:missing` line of the file decides for its own columns.",
        choices=("blank", "INSDC:missing"),
        when="Choose INSDC:missing for metadata from QIITA, ENA or NCBI, where a run "
        "tells that such words were taken as categories.",
    )


@dataclasses.dataclass(frozen=True, kw_only=True)
class FeatureOptions(Options):
    """What happens to features that the model cannot read."""

    topic: typing.ClassVar[str] = "Input"

    missing_features: str = option(
        "error",
        "What to do with features that have no sequence, or no tip in the phylogeny: "
        "stop, or leave them out and report how many reads that costs.",
        choices=("error", "drop"),
        when="Choose drop after a stop has shown that the features without a "
        "sequence or tip hold few of the reads.",
    )


@dataclasses.dataclass(frozen=True, kw_only=True)
class InputOptions(FeatureOptions, DepthOptions):
    """How the feature table becomes samples of ASVs."""

    topic: typing.ClassVar[str] = "Input"

    token_limit: int = option(
        1024,
        "Most ASVs of a sample that the model reads.",
        low=1,
        when="Lower it where memory runs out; raise it where samples have more "
        "ASVs than this at rarefy_depth and the rare ones matter.",
    )
    asv_sampling: str = option(
        "abundance",
        "Which ASVs are read where a sample has more than token_limit: the first of "
        "the table, the most abundant, or random ones (drawn anew each epoch).",
        choices=("first", "abundance", "random"),
        when="Choose random where many samples have more than token_limit ASVs "
        "and rare ASVs matter; first only to repeat results of tools that "
        "cut by file order.",
    )
    missing_samples: str = option(
        "error",
        "What to do with samples that the distance matrix lacks: stop, or leave them "
        "out and report.",
        choices=("error", "ignore"),
        when="Choose ignore where the distance matrix was made of a subset on "
        "purpose, for example at a greater rarefaction depth.",
    )


@dataclasses.dataclass(frozen=True, kw_only=True)
class ValidationOptions(InputOptions):
    """How validation samples are predicted."""

    topic: typing.ClassVar[str] = "Input"

    val_prediction_passes: int = option(
        1,
        "Random draws of ASVs over which the predictions of validation samples with "
        "more than token_limit ASVs are averaged (asv_sampling random).",
        low=1,
        high=10_000,
        when="Raise it with asv_sampling random, so that validation scores do "
        "not hang on one draw; predict then averages over as many.",
    )

    def _check(self) -> None:
        if self.val_prediction_passes > 1 and self.asv_sampling != "random":
            raise InputError(
                "val_prediction_passes has no effect with asv_sampling "
                f"{self.asv_sampling!r}, where each pass reads the same ASVs: leave "
                "val_prediction_passes out, or choose asv_sampling random."
            )


@dataclasses.dataclass(frozen=True, kw_only=True)
class SplitOptions(Options):
    """Which samples are for training, and which for validation."""

    topic: typing.ClassVar[str] = "Training and validation samples"

    test_size: float = option(
        0.2,
        "Fraction of the samples kept for validation.",
        low=0,
        high=1,
        open_low=True,
        open_high=True,
        when="Raise it where fewer than 9 samples would be left for validation: "
        "prediction intervals need that many. Lower it where training "
        "samples are few.",
    )
    group_column: str | None = option(
        None,
        "Metadata column whose groups (subjects, sites) are never divided between "
        "training and validation.",
        when="Name it whenever several samples come from one subject, site or "
        "family; else validation samples have relatives among the training "
        "samples. To predict other places or studies, name the place or study.",
    )
    seed: int = option(
        42,
        "Seed of all random choices.",
        low=0,
        high=2**32 - 1,
        when="Repeat a run with a few seeds to see how far its scores depend on "
        "the split and the random start.",
    )
