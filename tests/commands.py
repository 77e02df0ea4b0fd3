"""Commands that tests start as processes of their own."""

import contextlib
import os
import signal
import subprocess

from click.testing import CliRunner

from aam_core.cli.main import main
from aam_core.io.run_layout import WRITTEN


@contextlib.contextmanager
def started(command, **options):
    """A command that runs besides the test; what is left of it ends with the block.

    Its processes are a group, of which it is the leader. They heed SIGINT even where
    the tests ignore it, as all does that a shell starts by `&`: a signal that is
    ignored stays so in what is started, one that is handled does not.
    """
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        process = subprocess.Popen(command, start_new_session=True, **options)
    finally:
        signal.signal(signal.SIGINT, before)
    with process:  # closes its pipes
        try:
            yield process
        finally:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)


def aam(*arguments):
    """The command `aam`, in this process."""
    return CliRunner().invoke(main, [str(a) for a in arguments])


def has_results_only(folder):
    """Whether a folder holds nothing that `--overwrite` would refuse to delete."""
    return {path.name for path in folder.iterdir()} <= WRITTEN


def inputs(files, *names):
    """The options of `aam` that name these inputs of the fixture `files`."""
    options = {
        "table": "table.biom",
        "sequences": "seqs.fasta",
        "tree": "tree.nwk",
        "metadata": "metadata.tsv",
    }
    return [part for n in names for part in (f"--{n}", files / options[n])]
