"""Measured without PyTorch: commands, and files that are written."""

import subprocess
from pathlib import Path
from typing import Any

from benchmarks import synthetic


class Command:
    """A command, run as a process of its own."""

    def __init__(self, words: list[str]) -> None:
        self.words = words

    def __call__(self) -> None:
        """Run it to its end."""
        subprocess.run(self.words, check=True, stdout=subprocess.DEVNULL)


class Write:
    """Write a generated study into a folder."""

    def __init__(self, folder: str, **sizes: Any) -> None:
        self.folder, self.sizes = Path(folder), sizes
        self.facts: dict[str, Any] = {}

    def __call__(self) -> None:
        """Generate and write."""
        made = synthetic.study(**self.sizes)
        synthetic.write(made, self.folder)
        self.facts["nonzeros"] = int(made.table.counts.nnz)
