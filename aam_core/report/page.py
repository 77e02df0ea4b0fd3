"""One HTML file of charts and tables, which needs no network.

Charts are those of Altair (Vega-Lite); the JavaScript that draws them is bundled into
the page when it is made. All charts of a page read the same tables, each of which is in
the page once, and can be saved as TSV.
"""

import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from altair.utils import schemapi
from jinja2 import Environment, PackageLoader, select_autoescape

import aam_core
from aam_core.errors import InputError
from aam_core.io.model_folder import write_atomically

BUNDLE = "import sys, vl_convert; sys.stdout.write(vl_convert.javascript_bundle())"
DIGITS = 6  #: significant ones of the numbers in a page


@dataclass(frozen=True, eq=False)
class Table:
    """A table in a page.

    Attributes
    ----------
    name : str
        Of the file that it is saved as, and of the data in charts.
    frame : pandas.DataFrame
        Its rows; the index is the first column.
    labels : mapping
        What columns are called in the file, where names are no good in a chart.
    """

    name: str
    frame: pd.DataFrame
    labels: Mapping[str, str] = field(default_factory=dict)

    def named(self) -> pd.DataFrame:
        """The table as it is saved."""
        return self.frame.rename(columns=dict(self.labels))


@dataclass(frozen=True, eq=False)
class Figure:
    """A chart with what is to be seen in it."""

    title: str
    chart: Any  #: of Altair
    caption: str = ""


@dataclass(frozen=True, eq=False)
class Grid:
    """A small table that is shown as it is.

    Attributes
    ----------
    columns : sequence of str
        Headings; the first column is that of the rows' names.
    rows : sequence of sequence of str
        Cells.
    """

    title: str
    columns: Sequence[str]
    rows: Sequence[Sequence[str]]
    caption: str = ""


@dataclass(frozen=True, eq=False)
class Section:
    """A heading, a text, and what is shown below it."""

    title: str
    text: str = ""
    items: Sequence[Figure | Grid] = ()
    notes: Sequence[str] = ()


@dataclass(frozen=True, eq=False)
class Page:
    """A page of results."""

    title: str
    lead: str
    sections: Sequence[Section]
    tables: Sequence[Table] = ()

    def figures(self) -> Iterator[Figure]:
        """All charts, in the order of the page."""
        for section in self.sections:
            yield from (item for item in section.items if isinstance(item, Figure))


@contextmanager
def unchecked() -> Iterator[None]:
    """Build charts without a check of each part, which would take most of the time.

    Tests check whole charts against the schema of Vega-Lite.
    """
    with schemapi.debug_mode(False):
        yield


def write_page(page: Page, path: Path) -> None:
    """Write a page as one file, whole or not at all.

    Raises
    ------
    InputError
        As `javascript` raises it.
    """
    write_atomically(path, rendered(page).encode())


def write_tables(page: Page, folder: Path) -> None:
    """Write the tables of a page as TSV."""
    for table in page.tables:
        table.named().to_csv(folder / f"{table.name}.tsv", sep="\t")


def rendered(page: Page) -> str:
    """The HTML of a page."""
    loader = PackageLoader("aam_core", "report")
    environment = Environment(
        loader=loader,
        autoescape=select_autoescape(["jinja"]),
        trim_blocks=True,
        lstrip_blocks=True,
    )
    plain = {"sort_keys": False, "allow_nan": False}
    environment.policies["json.dumps_kwargs"] = plain
    environment.tests["figure"] = lambda item: isinstance(item, Figure)
    with unchecked():
        specs = [figure.chart.to_dict(validate=False) for figure in page.figures()]
    return environment.get_template("page.html.jinja").render(
        page=page,
        specs=specs,
        tables={t.name: _columns(t) for t in page.tables},
        script=javascript(),
        version=aam_core.__version__,
    )


def _columns(table: Table) -> dict[str, Any]:
    """A table as JSON values: names, labels, and rows as lists."""
    frame = table.frame.reset_index()
    values = [[_plain(v) for v in frame[name]] for name in frame]
    return {
        "columns": list(map(str, frame)),
        "labels": [str(table.labels.get(name, name)) for name in frame],
        "rows": [list(row) for row in zip(*values, strict=True)],
    }


def _plain(value: Any) -> Any:
    """A JSON value; None for what is missing or not finite."""
    if value is None or value is pd.NA or value is pd.NaT:
        return None
    if isinstance(value, bool | np.bool_):
        return bool(value)
    if isinstance(value, int | np.integer):
        return int(value)
    if isinstance(value, float | np.floating):
        return float(f"{value:.{DIGITS}g}") if np.isfinite(value) else None
    return str(value)


@lru_cache(maxsize=1)
def javascript() -> str:
    """What draws the charts: Vega, Vega-Lite and Vega-Embed in one script.

    It is made in a process of its own, since the library that makes it ends its
    process where memory is limited by `ulimit -v`, as some batch systems do.

    Raises
    ------
    InputError
        If it cannot be made.
    """
    command = [sys.executable, "-c", BUNDLE]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode or not done.stdout:
        said = (done.stderr.strip() or "no message").splitlines()[0][:200]
        raise InputError(
            "The JavaScript of a report cannot be made (vl-convert-python ended with "
            f"status {done.returncode}: {said}). It needs address space: run where "
            "`ulimit -v` is unlimited, or with a higher limit; if the package is "
            "missing, `pip install vl-convert-python`."
        )
    # a script ends where this occurs in it, even within a text
    return done.stdout.replace("</script", "<\\/script")


def chart_values(rows: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """Rows of a chart's own, as JSON values."""
    return [{k: _plain(v) for k, v in row.items()} for row in rows]
