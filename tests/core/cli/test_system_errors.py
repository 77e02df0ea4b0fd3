"""Errors of the operating system are one line that says what to do."""

import errno
import logging

import click
import pytest
import torch

from aam_core.cli.files import check_new, read_list
from aam_core.cli.run_folder import messages
from aam_core.cli.shared import clear_errors
from aam_core.errors import (
    REMEDIES,
    InputError,
    RunError,
    of_system,
    system_errors_told,
)
from tests.commands import aam, inputs


@pytest.mark.parametrize(
    ("error", "words"),
    [
        (OSError(errno.ENOSPC, "No space left on device", "a/b"), "a/b: No space left"),
        (PermissionError(errno.EACCES, "Permission denied", "x"), "who may read"),
        (OSError("something else"), "something else."),
        (MemoryError(), "does not suffice. Choose a smaller batch_size"),
        (MemoryError("of 1 TB"), "does not suffice (of 1 TB)."),
        (
            RuntimeError("CUDA out of memory. Tried\nmore"),
            "(CUDA out of memory. Tried).",
        ),
    ],
)
def test_there_is_no_traceback(error, words):
    with pytest.raises(click.ClickException) as found, clear_errors():
        raise error
    assert words in found.value.message
    assert "\n" not in found.value.message


def test_memory_that_torch_asks_for_in_vain_is_an_error_of_the_system():
    with pytest.raises(RunError, match="not suffice") as found, system_errors_told():
        torch.empty(2**55)
    assert "can't allocate" in str(found.value)
    with pytest.raises(RuntimeError, match="another"), system_errors_told():
        raise RuntimeError("another")


def test_each_remedy_is_a_sentence():
    for number, remedy in REMEDIES.items():
        said = of_system(OSError(number, "It went wrong", "file"))
        assert said == f"file: It went wrong. {remedy}"
        assert remedy.endswith(".")


def test_who_reads_our_output_may_leave():
    with pytest.raises(BrokenPipeError), clear_errors():
        raise BrokenPipeError(errno.EPIPE, "Broken pipe")


def test_a_file_where_a_folder_should_be(files, tmp_path):
    (tmp_path / "file").write_text("")
    given = inputs(files, "table", "sequences", "tree")
    done = aam("pretrain", *given, "--output-dir", tmp_path / "file" / "run")
    assert done.exit_code == 1
    assert "A part of this path is a file" in done.output
    assert "Traceback" not in done.output


def test_a_folder_that_takes_no_file_is_found_before_the_work(tmp_path, monkeypatch):
    """Whoever runs the tests: root may write wherever the disk can be written to."""
    check_new([tmp_path / "table.tsv", None], overwrite=False)
    monkeypatch.setattr("aam_core.cli.files.os.access", lambda path, mode: False)
    with pytest.raises(InputError, match=r"Nothing can be written .* table\.tsv"):
        check_new([tmp_path / "table.tsv", None], overwrite=True)


def test_lists_of_ids_are_utf_8(tmp_path):
    path = tmp_path / "ids.txt"
    path.write_text("a\n\nKäse\n", encoding="utf-8-sig")
    assert read_list(path) == ["a", "Käse"]
    path.write_bytes("Käse\n".encode("latin-1"))
    with pytest.raises(InputError, match="not UTF-8"):
        read_list(path)


def test_a_log_is_utf_8_whatever_the_locale(tmp_path, monkeypatch):
    monkeypatch.setattr("locale.getpreferredencoding", lambda *_: "ascii")
    with messages(tmp_path / "aam.log"):
        logging.getLogger("aam_core").info("R² ≥ 0.5")
    assert "R² ≥ 0.5" in (tmp_path / "aam.log").read_text(encoding="utf-8")
