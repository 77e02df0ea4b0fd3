import sys
from importlib import metadata

import pytest
import tqdm
import tqdm.auto

from aam_core.reporting import Once, closing_lines, progress


def version_of(widgets):
    def version(name):
        if widgets is None:
            raise metadata.PackageNotFoundError(name)
        return widgets

    return version


@pytest.mark.parametrize(
    ("widgets", "kind"),
    [
        (None, tqdm.tqdm),
        ("6.0.0", tqdm.tqdm),  # notebooks of today cannot show these
        ("8.1.2", tqdm.auto.tqdm),
    ],
)
def test_which_bar_is_shown(monkeypatch, widgets, kind):
    monkeypatch.setattr(metadata, "version", version_of(widgets))
    bar = progress(iter([1, 2]), total=2, disable=True)
    assert type(bar) is kind
    assert list(bar) == [1, 2]


@pytest.mark.parametrize(
    ("terminal", "notebook", "seconds"),
    [(False, False, 20), (True, False, 0.5), (False, True, 0.5)],
)
def test_a_bar_moves_where_somebody_watches(
    monkeypatch, capsys, terminal, notebook, seconds
):
    monkeypatch.setattr(metadata, "version", version_of(None))
    monkeypatch.setattr(sys.stderr, "isatty", lambda: terminal)
    monkeypatch.delitem(sys.modules, "ipykernel.zmqshell", raising=False)
    if notebook:
        monkeypatch.setitem(sys.modules, "ipykernel.zmqshell", object())
    bar = progress([1, 2], desc="Epoch 1/2")
    assert bar.mininterval == seconds
    assert list(bar) == [1, 2]
    assert "Epoch 1/2: 100%" in capsys.readouterr().err


def test_what_a_run_left_out_is_told_in_the_end():
    samples = {"samples in table": 34, "samples": 31, "samples of fewer reads": 1}
    samples |= {"samples without target": 2, "samples without reads": 0}
    samples |= {"features": 660, "features without sequence": 12, "sequences cut": 3}
    labels = {"classes": {"gut": 20, "skin": 3}}, {"classes": {"gut": 7, "ear": 1}}
    parts = [{"fitted": [labels[0]], "held_out": [labels[1]]}] * 2
    assert closing_lines({"samples": samples, "labels": parts}) == [
        "Used: 31 of 34 samples; left out: 1 of fewer reads, 2 without target.",
        "Used: 660 features; left out: 12 without sequence.",
        "3 sequences were cut.",
        "Classes of fewer than 5 samples can hardly be learned: 'ear' (1), 'skin' (3).",
    ]
    whole = {"samples in table": 9, "samples": 9, "features": 4, "sequences cut": 0}
    assert closing_lines({"samples": whole}) == []


def test_steps_that_say_the_same_are_heard_once():
    lines = []
    tell = Once(lines.append)
    for line in ("2 classes", "fold 1", "2 classes", "fold 2"):
        tell(line)
    assert lines == ["2 classes", "fold 1", "fold 2"]
