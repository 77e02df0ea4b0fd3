"""The folder in which a fitted estimator has its model."""

import shutil
import tempfile
import weakref
from pathlib import Path

from aam_core.io.model_folder import CONFIG, HISTORY, WEIGHTS, new_folder

#: What belongs to a model; the state of a run that was stopped stays behind.
FILES = (CONFIG, WEIGHTS, HISTORY)


class HeldFolder:
    """The layout of a model on disk; without a path, a temporary folder.

    A temporary folder ends with the last object that holds it. What is copied or
    pickled carries the files along, and is another temporary folder where it arrives.

    Parameters
    ----------
    path : Path, optional
        A folder of the user's, which is read and otherwise left alone.
    """

    def __init__(self, path: Path | None = None) -> None:
        if path is None:
            temporary = tempfile.TemporaryDirectory(prefix="aam-")
            # its own finalizer warns that nobody called cleanup
            weakref.finalize(self, temporary.cleanup)
            path = Path(temporary.name)
        self.path = path

    def save(self, folder: Path) -> None:
        """Copy the model to a new folder, whole or not at all.

        Raises
        ------
        InputError
            If there is something already.
        """
        with new_folder(folder) as made:
            for name in FILES:
                shutil.copyfile(self.path / name, made / name)

    def __getstate__(self) -> dict[str, dict[str, bytes]]:
        """The files themselves: where the copy is read, the folder may not be."""
        return {"files": {n: (self.path / n).read_bytes() for n in FILES}}

    def __setstate__(self, state: dict[str, dict[str, bytes]]) -> None:
        """Write the files to a new temporary folder."""
        self.__init__()
        for name in FILES:
            (self.path / name).write_bytes(state["files"][name])
