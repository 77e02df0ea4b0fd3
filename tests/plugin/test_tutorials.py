"""Tutorials, word for word: every command of a page runs, one after the other.

They take minutes, and data of other projects, which the pages download. So they are
skipped unless AAM_TUTORIAL_DATA is `download`, or a folder of the same files, in one
folder a tutorial (`make tutorials DATA=…`).
"""

import itertools
import os
import re
import shlex
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
TUTORIALS = ["moving-pictures", "ecam"]
DATA = os.environ.get("AAM_TUTORIAL_DATA")
MADE = re.compile(r"--o-|--output-(path|dir)$")
READ = re.compile(r"--i-|--m-.*-file$|--input-path$")
#: In place of curl: the file of the address's name, from a folder.
CURL = """#!/bin/sh
for address; do :; done
cp "$TUTORIAL_FILES/${address##*/}" .
"""


def script(tutorial):
    """All blocks of commands of a page."""
    page = (ROOT / "docs" / f"tutorial-{tutorial}.md").read_text()
    return "\n".join(re.findall(r"^```bash\n(.*?)^```", page, re.S | re.M))


def files_of(tutorial):
    """What each command reads, and what it makes."""
    for line in script(tutorial).replace("\\\n", " ").splitlines():
        words = shlex.split(line)
        pairs = list(itertools.pairwise(words))
        read = [value for option, value in pairs if READ.match(option)]
        yield read, [value for option, value in pairs if MADE.match(option)]


@pytest.mark.parametrize("tutorial", TUTORIALS)
def test_no_command_reads_what_none_before_has_made(tutorial):
    there = set(re.findall(r"^[0-9a-f]{64}  (.+)$", script(tutorial), re.M))
    assert there
    there |= set(re.findall(r'open\("(.+?)", "w"\)', script(tutorial)))
    for read, made in files_of(tutorial):
        missing = {name for name in read if name.split("/")[0] not in there}
        assert not missing
        there |= set(made)


@pytest.mark.skipif(not DATA, reason="AAM_TUTORIAL_DATA names no data")
@pytest.mark.parametrize("tutorial", TUTORIALS)
def test_every_command_of_a_tutorial_runs(tutorial, tmp_path):
    environment = dict(os.environ)
    if DATA != "download":
        curl = tmp_path / "bin" / "curl"
        curl.parent.mkdir()
        curl.write_text(CURL)
        curl.chmod(0o755)
        environment["PATH"] = f"{curl.parent}:{environment['PATH']}"
        environment["TUTORIAL_FILES"] = str(Path(DATA).absolute() / tutorial)
    command = ["bash", "-euo", "pipefail", "-c", script(tutorial)]
    subprocess.run(command, cwd=tmp_path, env=environment, check=True, timeout=7200)
    for _, made in files_of(tutorial):
        assert all((tmp_path / tutorial / name).exists() for name in made)
