"""The folder that a run of `aam` writes, and what it leaves when it is stopped."""

import contextlib
import logging
import shutil
from collections.abc import Iterator
from pathlib import Path

from aam_core.distributed.launch import rank
from aam_core.errors import InputError, some
from aam_core.io.cross_validation import is_completed
from aam_core.io.model_folder import CONFIG
from aam_core.io.model_folder import is_completed as is_complete_model
from aam_core.io.run_layout import BEST, CELLS, LAST, LOG, WRITTEN
from aam_core.io.training_state import PART, STATE, find_state
from aam_core.training.stop import Interrupted

#: What a run that learned nothing leaves, if it is killed.
TRACES = (LOG, "tensorboard")

logger = logging.getLogger("aam_core")


def state_folder(path: Path | None) -> Path | None:
    """The folder of the training state in the run that `path` is."""
    return None if path is None else find_state(path / LAST, path).parent


@contextlib.contextmanager
def run_folder(
    folder: Path, overwrite: bool, resume_from: Path | None = None
) -> Iterator[Path]:
    """A folder for a run, with a log of what the run says.

    It is empty, or that of the interrupted run that resumes. An earlier run is
    removed only when this one has ended well; a run that is refused leaves nothing
    behind, one that is interrupted its training state, which goes when a complete
    model and all that belongs to it are written. Of several processes of torchrun,
    the first one does all this.
    """
    if rank():
        yield folder
        return
    if resume_from is not None and folder.resolve() in resume_from.resolve().parents:
        if overwrite:
            raise InputError(
                f"--overwrite would delete {folder}, from which the run is to resume: "
                "leave it out."
            )
        with messages(folder / LOG), resume_hint(folder):
            yield folder
            end_state(folder)
        return
    earlier = set_aside(folder, overwrite)
    folder.mkdir(parents=True, exist_ok=True)
    try:
        with messages(folder / LOG), resume_hint(folder):
            yield folder
            end_state(folder)
    except BaseException as error:
        refused = isinstance(error, InputError | Interrupted)
        if has_result(folder) or (how_to_resume(folder) and not refused):
            if earlier is not None:
                with messages(folder / LOG):
                    logger.info(f"The run that it was to replace is in {earlier}.")
            raise
        if (folder / LAST).is_dir():
            shutil.rmtree(folder / LAST.parent)  # it holds nothing else yet
        if earlier is not None or has_traces_only(folder):
            shutil.rmtree(folder)
        if earlier is not None:
            earlier.rename(folder)
        raise
    if earlier is not None:
        shutil.rmtree(earlier)


def has_model(folder: Path) -> bool:
    """Whether a run has written its model."""
    return (folder / BEST / CONFIG).is_file()


def has_traces_only(folder: Path) -> bool:
    """Whether a folder is empty, or a run that was in it had saved nothing yet."""
    return all(
        path.relative_to(folder).parts[0] in TRACES or path.suffix == PART
        for path in folder.rglob("*")
        if path.is_file()
    )


def has_result(folder: Path) -> bool:
    """Whether a run has written a model, or the first cell of a cross-validation."""
    return has_model(folder) or any((folder / CELLS).glob("repeat*.json"))


def end_state(folder: Path) -> None:
    """Remove the training state of a run that is complete."""
    if has_model(folder) and is_complete_model(folder / BEST):
        shutil.rmtree(folder / LAST, ignore_errors=True)


def set_aside(folder: Path, overwrite: bool) -> Path | None:
    """Rename an earlier run that is to be overwritten; its new name."""
    if not folder.exists():
        return None
    if not folder.is_dir():
        raise InputError(f"{folder} is a file: name a folder.")
    if has_traces_only(folder):
        shutil.rmtree(folder / LAST.parent, ignore_errors=True)
        return None
    if not (folder / LOG).exists():
        raise InputError(
            f"{folder} holds files that no run of aam wrote: nothing is overwritten. "
            "Choose another --output-dir."
        )
    if not overwrite:
        if how := how_to_resume(folder):
            raise InputError(
                f"{folder} holds a run that is not complete: {how} resumes it; "
                "--overwrite starts again, and deletes it in the end; or choose "
                "another --output-dir."
            )
        raise InputError(
            f"{folder} holds an earlier run: choose another --output-dir, or pass "
            "--overwrite."
        )
    names = sorted(p.name for p in folder.iterdir() if p.suffix != PART)
    if others := [name for name in names if name not in WRITTEN]:
        raise InputError(
            f"{folder} holds, beside an earlier run, what no run of aam wrote: "
            f"{some(others)}. --overwrite would delete that: move it, or choose "
            "another --output-dir."
        )
    earlier = folder.with_name(folder.name + ".earlier")
    if earlier.exists():
        raise InputError(
            f"{earlier} holds a run that was being overwritten when that was "
            "interrupted: move or delete it."
        )
    return folder.rename(earlier)


def how_to_resume(folder: Path) -> str:
    """The option with which a run in `folder` resumes; none if it cannot."""
    if (folder / LAST / STATE).is_file():
        return f"--resume-from {folder}"
    if any((folder / CELLS).glob("*.json")) and not is_completed(folder):
        return "--resume"
    return ""


@contextlib.contextmanager
def resume_hint(folder: Path) -> Iterator[None]:
    """Say how to resume a run that does not reach its end."""
    try:
        yield
    except InputError:
        raise  # it would fail again
    except Interrupted:
        if has_result(folder):
            _tell_resume(folder, "The run was interrupted.")
        raise
    except BaseException:
        _tell_resume(folder, "The run was interrupted.")
        raise
    _tell_resume(folder, "The run is not complete.")


def _tell_resume(folder: Path, what: str) -> None:
    if how := how_to_resume(folder):
        logger.info(f"{what} To resume, repeat the command with {how}")


class _LogFile(logging.FileHandler):
    """The log of a run, which goes on where it cannot be written, as on a full disk."""

    def handleError(self, record: logging.LogRecord) -> None:
        """All that it says is on the screen, too."""

    def close(self) -> None:
        """Close it; what could not be written is lost."""
        with contextlib.suppress(OSError):
            super().close()


@contextlib.contextmanager
def messages(log: Path | None = None) -> Iterator[None]:
    """Show what the engine reports, and write it to a file too."""
    handlers: list[logging.Handler] = [logging.StreamHandler()]
    if log is not None:
        handlers.append(_LogFile(log, encoding="utf-8"))
        handlers[1].setFormatter(logging.Formatter("%(asctime)s %(message)s"))
    level = logger.level
    logger.setLevel(logging.INFO)
    for handler in handlers:
        logger.addHandler(handler)
    try:
        yield
    finally:
        logger.setLevel(level)
        for handler in handlers:
            logger.removeHandler(handler)
            handler.close()
