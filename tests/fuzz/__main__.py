"""Try many damaged inputs: `python -m tests.fuzz --help`."""

import os

os.environ["OMP_NUM_THREADS"] = "1"  # before anything imports torch

import argparse
import sys
import tempfile
from pathlib import Path

from tests.fuzz.harness import fuzz
from tests.fuzz.targets import targets


def main() -> int:
    """The exit status: 1 if anything came out that may not."""
    parser = argparse.ArgumentParser(prog="python -m tests.fuzz", description=__doc__)
    parser.add_argument("target", nargs="*", help="what is tried (default: all)")
    parser.add_argument("--seed", type=int, default=1, help="of the cases (default: 1)")
    parser.add_argument(
        "--number", type=int, default=1000, help="cases of each target (default: 1000)"
    )
    parser.add_argument(
        "--seconds",
        type=float,
        default=float("inf"),
        help="after which no case of a target is begun (default: no limit)",
    )
    parser.add_argument(
        "--keep",
        type=Path,
        default=Path("fuzz-failures"),
        help="folder for inputs that fail (default: fuzz-failures)",
    )
    given = parser.parse_args()
    failures = 0
    with tempfile.TemporaryDirectory() as folder:
        work = Path(folder)
        known = targets(work / "made")
        if unknown := set(given.target) - set(known):
            parser.error(f"unknown: {', '.join(unknown)}; known: {', '.join(known)}")
        for name in given.target or known:
            summary = fuzz(
                known[name],
                work / "case",
                given.seed,
                given.number,
                given.seconds,
                given.keep,
            )
            print(f"seed {given.seed}, {summary}", flush=True)
            failures += len(summary.failures)
    if failures:
        print(f"{failures} inputs failed; they are kept in {given.keep}.")
    return int(failures > 0)


if __name__ == "__main__":
    sys.exit(main())
