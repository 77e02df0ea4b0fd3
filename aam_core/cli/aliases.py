"""Other spellings of options of `aam`, said again in the words of its config."""

from collections.abc import Mapping
from typing import Any

import click

from aam_core.config import InputOptions
from aam_core.config.option import option_specs
from aam_core.errors import InputError
from aam_core.reporting import Report


class Older(click.Option):
    """An option that is understood, but has a better name now."""

    topic = "Older spellings"


def older_spellings(command: click.Command) -> click.Command:
    """Add the options that `translated` understands."""
    spellings = [
        Older(
            ["--normalize-targets/--no-normalize-targets"],
            default=None,
            help="Now --target-transform minmax, or none.",
        ),
        Older(
            ["--log-transform-targets"],
            is_flag=True,
            default=None,
            help="Now --target-transform log-minmax, or log-zscore with "
            "--no-normalize-targets.",
        ),
        Older(
            ["--normalize-targets-by"],
            metavar="STR,…",
            help="Now --target-transform zscore-category with --normalize-by.",
        ),
        Older(
            ["--out-dim"],
            type=int,
            help="Refused: it follows from the target columns or classes.",
        ),
    ]
    command.params += spellings
    return command


def translated(given: Mapping[str, Any], report: Report) -> dict[str, Any]:
    """The options of today that the older spellings mean.

    Parameters
    ----------
    given : mapping
        All options of the command line; None where one was not given.
    report : callable
        Is told what to write instead.

    Returns
    -------
    dict
        `target_transform` and `normalize_by`, where older spellings were used.

    Raises
    ------
    InputError
        If the older spellings contradict each other, or the new ones, or nothing of
        today stands for one.
    """
    if given["out_dim"] is not None:
        raise InputError(
            "--out-dim has no effect: what the model predicts follows from the columns "
            "that --metadata-column names, or from their classes. Leave it out."
        )
    used = []
    if given["normalize_targets"] is not None:
        negated = "" if given["normalize_targets"] else "no-"
        used.append(f"--{negated}normalize-targets")
    if given["log_transform_targets"]:
        used.append("--log-transform-targets")
    if given["normalize_targets_by"] is not None:
        used.append("--normalize-targets-by")
    if not used:
        return {}
    said = " with ".join(used)
    meant = _meaning(given, said)
    for name, value in meant.items():
        option = "--" + name.replace("_", "-")
        now = given[name] or None
        if now is not None and _words(now) != _words(value):
            raise InputError(
                f"{said} means {option} {_words(value)}, but {option} is "
                f"{_words(now)}: leave {said} out."
            )
    today = " ".join(f"--{n.replace('_', '-')} {_words(v)}" for n, v in meant.items())
    report(f"{said} is an older spelling and will be removed: write {today} instead.")
    return meant


def _meaning(given: Mapping[str, Any], said: str) -> dict[str, Any]:
    scaled, columns = given["normalize_targets"], given["normalize_targets_by"]
    if given["log_transform_targets"]:
        if columns is not None:
            raise InputError(
                f"{said} has no counterpart: with logarithms, the target is scaled "
                "over all samples. Choose --target-transform log-minmax or log-zscore."
            )
        # Without a scale of their own, logarithms are only moved and stretched.
        return {"target_transform": "log-zscore" if scaled is False else "log-minmax"}
    if columns is not None:
        if scaled is False:
            raise InputError(f"{said} contradict each other: leave one of them out.")
        return {"target_transform": "zscore-category", "normalize_by": (columns,)}
    return {"target_transform": "none" if scaled is False else "minmax"}


def _words(value: Any) -> str:
    """A value, or the values of a list, as written on the line."""
    return value if isinstance(value, str) else ",".join(value)


#: Flags that stand for a strategy.
STRATEGIES = {"fsdp": "fsdp", "distributed": "ddp", "data_parallel": "data-parallel"}


class Short(click.Option):
    """A flag for one value of another option."""

    topic = "Several devices"


def short_strategies(command: click.Command) -> click.Command:
    """Add the flags that `strategy_of` understands."""
    flags = [
        Short(
            ["--" + name.replace("_", "-")],
            is_flag=True,
            help=f"Short for --strategy {strategy}.",
        )
        for name, strategy in STRATEGIES.items()
    ]
    flags.append(
        Short(
            ["--sync-batchnorm"],
            is_flag=True,
            help="Refused: this model has no batch normalisation.",
        )
    )
    command.params += flags
    return command


def strategy_of(given: Mapping[str, Any]) -> dict[str, Any]:
    """The strategy that a flag stands for.

    Raises
    ------
    InputError
        If flags contradict each other or `--strategy`, or `--sync-batchnorm` is one.
    """
    if given["sync_batchnorm"]:
        raise InputError(
            "--sync-batchnorm has no effect: the model has no batch normalisation, its "
            "layers normalise each position on its own. Leave it out."
        )
    chosen = {"--" + n.replace("_", "-"): s for n, s in STRATEGIES.items() if given[n]}
    if given["strategy"] is not None:
        chosen[f"--strategy {given['strategy']}"] = given["strategy"]
    if len(set(chosen.values())) > 1:
        raise InputError(f"{' and '.join(chosen)} contradict each other: choose one.")
    return {"strategy": next(iter(chosen.values()), None)}


def uncached_sequences(command: click.Command) -> click.Command:
    """Add the flag that `tell_uncached` understands."""
    flag = Older(
        ["--no-sequence-cache"],
        is_flag=True,
        help="Accepted without effect: sequences are read once anyway.",
    )
    command.params.append(flag)
    return command


def tell_uncached(given: dict[str, Any], report: Report) -> None:
    """Say that a flag has no effect, and take it away."""
    if given.pop("no_sequence_cache"):
        report(
            "--no-sequence-cache has no effect: each distinct sequence is read once, "
            "and takes a byte a nucleotide."
        )


def sampling_of_a_model(command: click.Command) -> click.Command:
    """Add the option that `check_sampling` understands."""
    known = next(s for s in option_specs(InputOptions) if s.name == "asv_sampling")
    choice = Older(
        ["--asv-sampling"],
        type=click.Choice(known.choices),
        help="Accepted if it is the model's own: samples are read as in training.",
    )
    command.params.append(choice)
    return command


def check_sampling(asked: str | None, trained: str) -> None:
    """Refuse another way to choose ASVs than the model's.

    Raises
    ------
    InputError
        If it is another one.
    """
    if asked not in (None, trained):
        raise InputError(
            f"--asv-sampling is {asked}, but the model was trained with {trained}, and "
            "reads new samples as it read those. Leave it out, or train with "
            f"--asv-sampling {asked}."
        )
