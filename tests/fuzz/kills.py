"""Kill runs at random moments, resume them, and compare with runs that nobody killed.

    python -m tests.fuzz.kills --seed 1 --kills 40 --terms 20 --qiime 6

SIGKILL and SIGTERM come to `aam pretrain` and `aam train` (two folds; kernel, trees and
network) in each phase: `start` (reading), `members` (kernel and trees are fitted),
`epochs`, `last` (the model is written), and at `point`s: just before or after a certain
file of the last act. Then the command is repeated as a job script would: with
--resume-from where there is a training state. Lost is what ends with an error, or with
another model than the run that nobody killed, to the bit. SIGTERM also comes to `train`
as an action of QIIME 2.

Each run is a process forked from this one, which has imported PyTorch but computed
nothing. A line of JSON tells of each; the last lines count. The status is 1 if anything
was lost.
"""

import argparse
import faulthandler
import hashlib
import json
import os
import random
import shutil
import signal
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import biom
import pandas as pd
from biom.util import biom_open

os.environ["OMP_NUM_THREADS"] = "1"  # also: the same number of threads in all runs
from aam_core.cli import main as cli
from aam_core.commands import pretrain, train  # noqa: F401 (what takes long to import)
from aam_core.io import model_folder
from aam_core.io.run_layout import BEST, LAST
from aam_core.io.training_state import STATE
from aam_core.training.stop import Action
from tests import generate

SIZES = (
    "--embedding-dim 8 --attention-heads 2 --attention-layers 1 --nucleotide-patch 4 "
    "--max-bp 60 --rarefy-depth 100 --device cpu --lr 0.003 --batch-size 6"
)
OF_TRAINING = (
    "--metadata metadata.tsv --metadata-column value --cross-fit 2 --epochs 6 "
    "--ensemble kernel,trees,network"
)
COMMANDS = {
    "pretrain": "--tree tree.nwk --epochs 12",
    "train": OF_TRAINING,
}
PHASES = ("start", "members", "epochs", "last", "point")
#: What a run does in its last act, by where it is found.
POINTS = (
    (model_folder, "write_atomically", 3),
    (cli, "write_lists", 1),
    (cli, "write_table", 2),
)
LONGEST = 120  #: seconds that a run may take
RESULTS = ("history.tsv", "val_predictions.tsv", "val_details.tsv")


def write_study(folder: Path) -> None:
    """The files that the runs read."""
    made = generate.study()
    counts = made.table.counts.T.tocsr().astype(float)
    table = biom.Table(counts, made.table.feature_ids, made.table.sample_ids)
    with biom_open(str(folder / "table.biom"), "w") as handle:
        table.to_hdf5(handle, "test")
    fasta = "".join(f">{name}\n{text}\n" for name, text in made.sequences.items())
    (folder / "seqs.fasta").write_text(fasta)
    made.tree.write(str(folder / "tree.nwk"))
    made.metadata.to_csv(folder / "metadata.tsv", sep="\t")


class Run:
    """A process that was forked to do something, with what it says in a file."""

    def __init__(self, work: Callable[[], object], log: Path) -> None:
        self.log, self.began = log, time.monotonic()
        sys.stdout.flush()
        self.pid = os.fork()
        if not self.pid:
            self._do(work)
        self.code: int | None = None
        self.hangs = False

    def _do(self, work: Callable[[], object]) -> None:
        status = 1
        faulthandler.register(signal.SIGUSR1, chain=False)
        try:
            handle = os.open(self.log, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
            os.dup2(handle, 1)
            os.dup2(handle, 2)
            work()
            status = 0
        except SystemExit as end:
            status = end.code or 0
        except BaseException as error:
            print(f"{type(error).__name__}: {error}", file=sys.stderr)
        finally:
            sys.stdout.flush()
            sys.stderr.flush()
            os._exit(status)

    def alive(self) -> bool:
        """Whether it still runs."""
        if self.code is None:
            pid, status = os.waitpid(self.pid, os.WNOHANG)
            if pid:
                self.code = os.waitstatus_to_exitcode(status)
        return self.code is None

    def wait_for(self, seen: Callable[[], bool]) -> None:
        """Until something is seen, or it has ended; what takes forever is killed."""
        while self.alive() and not seen():
            if time.monotonic() - self.began > LONGEST:
                os.kill(self.pid, signal.SIGUSR1)  # says where it is
                time.sleep(1)
                os.kill(self.pid, signal.SIGKILL)
                os.waitpid(self.pid, 0)
                self.code, self.hangs = -signal.SIGKILL, True
            time.sleep(0.001)

    def end(self) -> int:
        """Its exit status."""
        self.wait_for(lambda: False)
        return self.code

    def send(self, number: int) -> bool:
        """Send a signal; whether it still ran."""
        if not self.alive():
            return False
        os.kill(self.pid, number)
        return True

    def said(self) -> str:
        """All that it said."""
        return self.log.read_text(errors="replace") if self.log.exists() else ""


def aam(command: str, output: Path, *more: str, before: Callable = lambda: None) -> Run:
    """Start a command in the folder of the study."""
    words = [
        command,
        "--table",
        "table.biom",
        "--sequences",
        "seqs.fasta",
        *SIZES.split(),
    ]
    words += [*COMMANDS[command].split(), "--output-dir", str(output), *more]

    def work() -> None:
        before()
        cli.main(words)

    return Run(work, output.with_suffix(".txt"))


def digest(output: Path) -> dict[str, str | None]:
    """What has to be the same, to the bit."""
    paths = [output / BEST / model_folder.WEIGHTS, *(output / n for n in RESULTS)]
    return {
        path.name: hashlib.sha256(path.read_bytes()).hexdigest()
        for path in paths
        if path.exists()
    }


def left_behind(output: Path) -> list[str]:
    """What a complete run does not leave."""
    every = [p for p in output.rglob("*") if p.name.endswith(".part")]
    return [str(p.relative_to(output)) for p in [*every, output / LAST] if p.exists()]


def stamp(path: Path) -> int:
    """When a file was written last; 0 if it is not there."""
    try:
        return path.stat().st_mtime_ns
    except FileNotFoundError:
        return 0


class Reference:
    """A run that nobody kills, and when it does what."""

    def __init__(self, command: str, folder: Path) -> None:
        output = folder / f"straight-{command}"
        state, best = output / LAST / STATE, output / BEST
        run = aam(command, output)
        at, first = [0.0], []
        for seen in (
            lambda: stamp(state) > 0,
            lambda: stamp(state) > first[0],
            best.exists,
            lambda: False,
        ):
            run.wait_for(seen)
            at.append(time.monotonic() - run.began)
            first.append(stamp(state))
        assert run.code == 0, run.said()
        self.digest = digest(output)
        names = ("start", "members", "epochs", "last")
        self.seconds = {n: b - a for n, a, b in zip(names, at, at[1:], strict=False)}


def at_point(owner: object, name: str, number: int, after: bool, sent: int) -> Callable:
    """Let a process send itself a signal where a function is called."""

    def patch() -> None:
        real, calls = getattr(owner, name), []

        def function(*args, **options):
            calls.append(1)
            now = len(calls) == number
            if now and not after:
                os.kill(os.getpid(), sent)
            found = real(*args, **options)
            if now and after:
                os.kill(os.getpid(), sent)
            return found

        setattr(owner, name, function)

    return patch


def interrupted(
    command: str,
    phase: str,
    sent: int,
    output: Path,
    reference: Reference,
    rng: random.Random,
    *more: str,
) -> tuple[Run, bool]:
    """A run that gets a signal in a phase; and whether it came in time."""
    state, best = output / LAST / STATE, output / BEST
    if phase == "point":
        owner, name, most = rng.choice(POINTS[:2] if command == "pretrain" else POINTS)
        point = owner, name, rng.randint(1, most), rng.random() < 0.5, sent
        run = aam(command, output, *more, before=at_point(*point))
        run.end()
        return run, True
    known = stamp(state)
    run = aam(command, output, *more)
    if phase != "start":
        run.wait_for(lambda: stamp(state) > known)
        known = stamp(state)
    if phase == "epochs":
        run.wait_for(lambda: stamp(state) > known)
    if phase == "last":
        run.wait_for(best.exists)
    time.sleep(rng.uniform(0, reference.seconds[phase]))
    came = run.send(sent)
    return run, came


def again(command: str, output: Path) -> Run:
    """The command repeated as a job script does."""
    more = []
    if (output / LAST / STATE).is_file():
        more = ["--resume-from", str(output)]
    return aam(command, output, *more)


def wrong_after_sigterm(run: Run, output: Path) -> str | None:
    """What SIGTERM must not leave; None if all is well."""
    config = output / BEST / model_folder.CONFIG
    if run.code == 0:
        model_folder.check_layout(output / BEST)
        return None if config.exists() else "status 0 without a model"
    if run.code == 1 and "before anything was learned" in run.said():
        return "a folder is left" if output.exists() else None
    return f"status {run.code}: {run.said()[-300:]}"


def one(
    number: int, sent: int, folder: Path, references: dict, rng: random.Random
) -> dict:
    """One run that is interrupted, and resumed."""
    command = rng.choice(list(COMMANDS))
    phase = PHASES[number % len(PHASES)]
    reference, output = references[command], folder / f"run-{sent}-{number}"
    run, came = interrupted(command, phase, sent, output, reference, rng)
    status = run.end()
    found = {"command": command, "phase": phase, "signal": signal.Signals(sent).name}
    found |= {"came": came, "status": status, "lost": None}
    if run.hangs:
        found["lost"] = f"hangs: {run.said()[-3000:]}"
    ended = came and not run.hangs and status != -signal.SIGTERM
    if ended and sent == signal.SIGTERM:
        found["lost"] = wrong_after_sigterm(run, output)
    early = status == -signal.SIGTERM and not run.said()  # before the first line
    if status == -signal.SIGTERM and not early:
        found["lost"] = f"died of SIGTERM: {run.said()[-300:]}"
    complete = (
        output.exists()
        and not (output / LAST).exists()
        and (digest(output) == reference.digest)
    )
    found["then"] = "complete" if complete else "resumed"
    if not complete and not found["lost"]:
        if not (output / LAST / STATE).exists():
            found["then"] = "restarted"
        run = again(command, output)
        if run.end():
            found["lost"] = f"status {run.code}: {run.said()[-300:]}"
    if not found["lost"] and digest(output) != reference.digest:
        found["lost"] = "another model"
    if not found["lost"] and left_behind(output):
        found["lost"] = f"left behind: {left_behind(output)}"
    shutil.rmtree(output, ignore_errors=True)
    return found


def qiime_train(folder: Path, mark: Path) -> None:
    """`train` as an action, with marks where it begins and ends."""
    # of its own: what is killed outside of the action can leave QIIME 2's cache locked
    tempfile.tempdir = str(mark.with_suffix(".tmp"))
    Path(tempfile.tempdir).mkdir()
    import qiime2
    from qiime2.plugins import aam as plugin

    enter, leave = Action.__enter__, Action.__exit__

    def marked(self):
        mark.with_suffix(".began").touch()
        return enter(self)

    def unmarked(self, *exception):
        mark.with_suffix(".ended").touch()
        return leave(self, *exception)

    Action.__enter__, Action.__exit__ = marked, unmarked
    table = biom.load_table(str(folder / "table.biom"))
    known = qiime2.Metadata(
        pd.read_csv(folder / "metadata.tsv", sep="\t", index_col=0).rename_axis("id")
    )
    found = plugin.actions.train(
        qiime2.Artifact.import_data("FeatureTable[Frequency]", table),
        known,
        sequences=qiime2.Artifact.import_data(
            "FeatureData[Sequence]", str(folder / "seqs.fasta")
        ),
        metadata_column=["value"],
        rarefy_depth=100,
        embedding_dim=8,
        attention_heads=2,
        attention_layers=1,
        epochs=6,
        lr=0.003,
        device="cpu",
        cross_fit=2,
        ensemble=["kernel", "trees", "network"],
    )
    found.model.validate("max")
    print("completed", found.model.view(dict)["completed"])


def qiime_once(
    number: int, folder: Path, seconds: float, rng: random.Random
) -> dict[str, object]:
    """SIGTERM in the action at a random moment; an artifact, or a clear message."""
    mark = folder / f"qiime-{number}"
    run = Run(lambda: qiime_train(folder, mark), mark.with_suffix(".txt"))
    run.wait_for(mark.with_suffix(".began").exists)
    time.sleep(rng.uniform(0, seconds))
    came = run.send(signal.SIGTERM)
    late = mark.with_suffix(".ended").exists()
    status, said = run.end(), run.said()
    lost = f"hangs: {said[-3000:]}" if run.hangs else None
    clear = "before anything was learned" in said
    left = clear or (not status and "completed" in said)
    if not lost and came and not late and not left:
        lost = f"status {status}: {said[-300:]}"
    what = "message" if clear else ["artifact", "none"]["completed" not in said]
    return {"command": "qiime train", "came": came, "after the action": late} | {
        "status": status,
        "left": what,
        "lost": lost,
    }


def main() -> int:
    """Do it all, and count."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--kills", type=int, default=40)
    parser.add_argument("--terms", type=int, default=20)
    parser.add_argument("--qiime", type=int, default=6)
    given = parser.parse_args()
    rng, results = random.Random(given.seed), []
    with tempfile.TemporaryDirectory(prefix="aam-kills-") as name:
        folder = Path(name)
        write_study(folder)
        os.chdir(folder)
        references = {command: Reference(command, folder) for command in COMMANDS}
        plan = [(n, signal.SIGKILL) for n in range(given.kills)]
        plan += [(n, signal.SIGTERM) for n in range(given.terms)]
        for number, sent in plan:
            results.append(one(number, sent, folder, references, rng))
            print(json.dumps(results[-1]), flush=True)
        if given.qiime:
            mark = folder / "qiime-straight"
            run = Run(lambda: qiime_train(folder, mark), mark.with_suffix(".txt"))
            assert run.end() == 0, run.said()
            began, ended = (stamp(mark.with_suffix(e)) for e in (".began", ".ended"))
            for number in range(given.qiime):
                seconds = (ended - began) / 1e9
                results.append(qiime_once(number, folder, seconds, rng))
                print(json.dumps(results[-1]), flush=True)
        os.chdir("/")
    counted = Counter((r.get("signal", r["command"]), r.get("phase")) for r in results)
    for (what, phase), count in sorted(counted.items(), key=str):
        print(f"{what}\t{phase or ''}\t{count}")
    lost = [result for result in results if result["lost"]]
    print(f"seed {given.seed}: {len(results)} runs, {len(lost)} lost")
    return int(bool(lost))


if __name__ == "__main__":
    sys.exit(main())
