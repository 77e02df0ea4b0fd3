"""The general encoder of the package, and which runs start from it."""

import dataclasses
from collections.abc import Iterator
from pathlib import Path

from aam_core.config import TrainConfig
from aam_core.config.effort import members_of
from aam_core.config.model import ModelOptions
from aam_core.config.option import option_specs
from aam_core.config.pretraining import TRAINED_BASE, LossOptions
from aam_core.data.inputs import Sources
from aam_core.data.study import longest_sequence
from aam_core.ensemble.mixture import NETWORK
from aam_core.errors import InputError
from aam_core.io.load import architecture, read_kind
from aam_core.io.run_layout import GENERAL
from aam_core.reporting import Report


def with_general_encoder(
    config: TrainConfig, encoder: Path | None, sources: Sources
) -> tuple[TrainConfig, Path | None]:
    """The options and the encoder that a training starts with.

    Unless `general_encoder` says otherwise, a run that has no encoder of its own and
    asks for nothing that this one has not, starts from it and keeps it frozen.

    Parameters
    ----------
    config : TrainConfig
        What the user chose.
    encoder : Path or None
        That of the user.
    sources : Sources
        What is read.

    Raises
    ------
    InputError
        If `general_encoder` is true and cannot be followed.
    """
    asked = config.general_encoder
    if asked is False or (asked is None and encoder is not None):
        return config, encoder
    against = next(_against(config, encoder, sources), None) or _too_long(sources)
    if against is not None:
        if asked:
            raise InputError(
                f"general_encoder is true, but {against}: leave one of them out."
            )
        return config, None
    if asked is None:
        config = dataclasses.replace(config, freeze_base=True)
    return config, GENERAL


def tell_of(
    config: TrainConfig, encoder: Path | None, sources: Sources, report: Report
) -> None:
    """Say that a run starts from the general encoder, or that it could not."""
    if encoder is None and config.general_encoder is None:
        asked = next(_against(config, None, sources), None)
        if asked is None and (reason := _too_long(sources)):
            report(
                "The network is trained from scratch, which takes many times as long: "
                f"{reason} (general_encoder)."
            )
    if encoder != GENERAL:
        return
    state = "frozen" if config.freeze_base else "trained with the rest"
    report(
        f"The network starts from the general encoder of the package, {state} "
        "(general_encoder)."
    )


def _against(
    config: TrainConfig, encoder: Path | None, sources: Sources
) -> Iterator[str]:
    """What a run has or asks for, that the general encoder does not go with."""
    if encoder is not None:
        yield "there is another pre-trained encoder"
    if NETWORK not in (config.ensemble or members_of(config.effort, True)):
        yield "ensemble has no network"
    if sources.phylogeny is not None or sources.distances is not None:
        yield "there are distances for an encoder to learn"
    for spec in option_specs(ModelOptions):
        if spec.name != "dropout" and getattr(config, spec.name) is not None:
            yield f"{spec.name} is {getattr(config, spec.name)}"
    for spec in option_specs(LossOptions):
        value = getattr(config, spec.name)
        trained = dict(spec.only_with or {}).items() >= TRAINED_BASE.items()
        if trained and value != spec.default:
            yield f"{spec.name} is {value}, for an encoder that learns"


def _too_long(sources: Sources) -> str | None:
    """What there is of sequences that the general encoder would cut."""
    longest = longest_sequence(sources.table, sources.sequences)
    most = architecture(read_kind(GENERAL, "encoder")).max_bp
    if longest <= most:
        return None
    return (
        f"there are sequences of {longest:,} nucleotides, and the general encoder "
        f"reads {most:,}"
    )
