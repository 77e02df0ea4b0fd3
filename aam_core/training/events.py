"""Event files for TensorBoard, an extra that never ends a run."""

import contextlib
import threading
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from aam_core.reporting import Report

#: TensorBoard tags of what has no train_ or val_ in the history.
TAGS = {
    "gmu_gate_mean": "gmu/gate_mean",
    "cross_attn_weight_mean": "cross_attn/weight_mean",
}


class EventFiles:
    """Rows of the history as TensorBoard scalars, as long as they can be written.

    A context manager: at its end, whatever comes, the files have all rows.

    Parameters
    ----------
    folder : Path, optional
        Where they go; without it nowhere.
    epoch : int
        The first that will be written; what an interrupted run wrote of it is void.
    report : callable
        Hears once why there are none.
    """

    def __init__(self, folder: Path | None, epoch: int, report: Report) -> None:
        self.folder = folder
        self.epoch = epoch
        self.report = report
        self.writer: Any = None

    def __enter__(self) -> "EventFiles":
        self._before = threading.excepthook
        threading.excepthook = self._of_thread
        if self.folder is not None:
            self._open()
        return self

    def __exit__(self, *exception: object) -> None:
        with self._optional():
            if self.writer is not None:
                self.writer.close()
        threading.excepthook = self._before

    def _open(self) -> None:
        try:
            from torch.utils.tensorboard import SummaryWriter
        except ImportError:
            self.report("TensorBoard is not installed, so no event files are written.")
            return
        with self._optional():
            self.writer = SummaryWriter(str(self.folder), purge_step=self.epoch)

    def _of_thread(self, failed: threading.ExceptHookArgs) -> None:
        """Print no traceback of TensorBoard's thread: `add` raises what it met."""
        if not type(failed.thread).__module__.startswith("tensorboard"):
            self._before(failed)

    def add(self, row: Mapping[str, float]) -> None:
        """Write a row of the history: train_x → train/x."""
        with self._optional():
            for name, value in row.items():
                if name != "epoch" and self.writer is not None:
                    tag = TAGS.get(name, name.replace("_", "/", 1))
                    self.writer.add_scalar(tag, value, row["epoch"])

    @contextlib.contextmanager
    def _optional(self) -> Iterator[None]:
        """Go on without event files where something is wrong with them."""
        try:
            yield
        except Exception as error:  # of another library, and of the system
            self.writer = None
            self.report(
                f"TensorBoard's event files cannot be written ({error}); training "
                "goes on without them."
            )
