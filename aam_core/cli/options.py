"""Options of the command line, made from those that `aam_core.config` declares."""

from collections.abc import Callable
from typing import Any

import click

from aam_core.config import COMMANDS
from aam_core.config.option import OptionSpec, option_specs


class Topical(click.Command):
    """A command whose `--help` groups the options by topic."""

    def format_options(
        self, ctx: click.Context, formatter: click.HelpFormatter
    ) -> None:
        """Write the options, files first."""
        topics: dict[str, list[tuple[str, str]]] = {}
        for parameter in self.get_params(ctx):
            record = parameter.get_help_record(ctx)
            if record is not None:
                topic = getattr(parameter, "topic", "Files")
                topics.setdefault(topic, []).append(record)
        for topic, records in topics.items():
            with formatter.section(topic):
                formatter.write_dl(records)


class Flag(click.Option):
    """A flag of the command line alone, shown among the options of a topic."""

    def __init__(self, *declarations: Any, topic: str, **settings: Any) -> None:
        super().__init__(*declarations, is_flag=True, **settings)
        self.topic = topic


class ConfigOption(click.Option):
    """A command-line option made from an `OptionSpec`."""

    def __init__(self, spec: OptionSpec) -> None:
        name = spec.name.replace("_", "-")
        flag = f"--{name}/--no-{name}" if spec.type is bool else f"--{name}"
        notes = [
            text
            for text in (
                spec.range_text if spec.type is not bool and not spec.choices else "",
                f"default: {spec.shown_default}" if spec.shown_default else "",
            )
            if text
        ]
        help = spec.help + (f"  [{'; '.join(notes)}]" if notes else "")
        if spec.choices and not spec.many:
            kind: Any = click.Choice(spec.choices)
        else:
            kind = str if spec.many else spec.type
        metavar = f"{spec.type.__name__.upper()},…" if spec.many else None
        super().__init__(
            [flag, spec.name],
            type=kind,
            default=None,
            multiple=spec.many,
            help=help,
            metavar=metavar,
        )
        self.topic = spec.topic


def configured(name: str) -> Callable[[click.Command], click.Command]:
    """Add the options of a command's config class to a command."""

    def add(command: click.Command) -> click.Command:
        command.params += map(ConfigOption, option_specs(COMMANDS[name]))
        return command

    return add


def make_config(command: str, given: dict[str, Any]) -> Any:
    """The config of a command from the options that were given on the line."""
    return COMMANDS[command](**given_options(command, given))


def given_options(command: str, given: dict[str, Any]) -> dict[str, Any]:
    """The options of a command that were given on the line."""
    values = {}
    for spec in option_specs(COMMANDS[command]):
        value = given.get(spec.name)
        if spec.many:
            value = tuple(v for text in value or () for v in text.split(","))
        if value is not None and value != ():
            values[spec.name] = value
    return values
