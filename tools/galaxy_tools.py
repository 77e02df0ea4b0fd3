"""Galaxy tools of all actions: template them, and run their tests' jobs.

    python -m tools.galaxy_tools OUT [--checkout DIR]

q2galaxy writes a tool for each action and runs its jobs; it is not on PyPI, so name a
checkout of it unless it is installed. `make galaxy` does this, and lints the tools.
"""

import importlib.util
import json
import os
import subprocess
import sys
import xml.etree.ElementTree as ET
from collections.abc import Iterator
from pathlib import Path

import click

PLUGIN = "aam"
SECTION = "__q2galaxy__"  #: what names of parts of the form start with


@click.command()
@click.argument("out", type=click.Path(path_type=Path))
@click.option(
    "--checkout",
    type=click.Path(exists=True, file_okay=False, path_type=Path),
    help="Of q2galaxy, where it is not installed.",
)
def main(out: Path, checkout: Path | None) -> None:
    """Write the tools into OUT/tools, and the results of their tests into OUT/jobs."""
    environment = environment_of(out, checkout)
    suite = template(out / "tools", environment)
    tools = sorted(suite.glob("*.xml"))
    click.echo(f"{len(tools)} tools are in {suite}.")
    failed = [line for tool in tools for line in run_tests(tool, out, environment)]
    for line in failed:
        click.echo(line, err=True)
    if failed:
        raise SystemExit(1)
    click.echo("Every test's job has all of its outputs.")


def environment_of(out: Path, checkout: Path | None) -> dict[str, str]:
    """Variables with which q2galaxy imports, and finds a list of conda's packages."""
    variables = dict(os.environ)
    if checkout is not None:
        variables["PYTHONPATH"] = str(checkout.resolve())
    elif importlib.util.find_spec("q2galaxy") is None:
        raise click.ClickException(
            "q2galaxy is not installed. Clone it beside this project, at the tag of "
            "your QIIME 2, and name it: make galaxy Q2GALAXY=../q2galaxy"
        )
    if "CONDA_PREFIX" not in variables:  # versions then are those of the packages
        prefix = out / "conda"
        (prefix / "conda-meta").mkdir(parents=True, exist_ok=True)
        variables["CONDA_PREFIX"] = str(prefix.resolve())
    return variables


def template(folder: Path, environment: dict[str, str]) -> Path:
    """Write the tools of the plugin."""
    folder.mkdir(parents=True, exist_ok=True)
    command = [sys.executable, "-m", "q2galaxy", "template", "plugin", PLUGIN, folder]
    subprocess.run(command, env=environment, check=True, stdout=subprocess.DEVNULL)
    return folder / f"suite_qiime2__{PLUGIN}"


def run_tests(tool: Path, out: Path, environment: dict[str, str]) -> Iterator[str]:
    """Run the job of each test of a tool, as Galaxy would; yield what went wrong."""
    root = ET.parse(tool).getroot()
    action = root.findtext("command", "").split()[3]
    for number, test in enumerate(root.iterfind("tests/test")):
        folder = out / "jobs" / f"{action}-{number}"
        folder.mkdir(parents=True, exist_ok=True)
        given = values_of(test, tool.parent / "test-data")
        (folder / "inputs.json").write_text(json.dumps(given, indent=1))
        command = [sys.executable, "-m", "q2galaxy", "run", PLUGIN, action]
        with open(folder / "log.txt", "w") as log:
            done = subprocess.run(
                [*command, "inputs.json"],
                cwd=folder,
                env=environment,
                stdout=log,
                stderr=log,
                check=False,
            )
        click.echo(f"{action}: the job ended with {done.returncode}.")
        if done.returncode:
            yield f"{action}: the job of test {number} failed, see {folder}/log.txt"
        for output in root.iterfind("outputs/data"):
            path = folder / output.get("from_work_dir", "")
            if not path.is_file():
                yield f"{action}: the job of test {number} left no {path.name}"


def values_of(part: ET.Element, data: Path) -> dict:
    """The values of a form, or of a part of it, as a job reads them."""
    values: dict = {}
    for child in part:
        name = child.get("name", "")
        if child.tag == "param":
            values[name] = value_of(child, data)
        elif child.tag == "repeat":
            values.setdefault(name, []).append(values_of(child, data))
        elif child.tag in ("conditional", "section"):
            inner = values_of(child, data)
            if name.startswith(SECTION):
                values |= inner
            else:
                values[name] = inner
    return values


def value_of(param: ET.Element, data: Path):
    """One value: the path of a file, a list of columns, a number or a text."""
    text = param.get("value", "")
    if param.get("ftype"):
        return str((data / text).resolve())
    if param.get("name") == "column":
        return [text]
    try:
        return json.loads(text)
    except json.JSONDecodeError:
        return text


if __name__ == "__main__":
    main()
