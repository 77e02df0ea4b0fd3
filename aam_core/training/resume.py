"""What a run needs to be stopped, and to resume later as if it never was.

After each epoch the whole state of training is in one file. It holds tensors,
numbers and texts only; with a strategy that is sharded, the tensors are in parts beside
it. No code in any of it is run.
"""

import contextlib
import math
import shutil
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from aam_core.distributed.strategy import Strategy, gather_full, placed
from aam_core.errors import InputError
from aam_core.io.training_state import (
    LIST,
    PART,
    SHARDS,
    STATE,
    STATE_SCHEMA,
    find_state,
    read_state,
    sum_of,
    write_state,
)
from aam_core.reporting import Report, silent
from aam_core.training.identity import check_same
from aam_core.training.optimiser import Stepper


@dataclass
class Progress:
    """How far a run is, and its best model so far."""

    epoch: int = 0
    history: list[dict[str, float]] = field(default_factory=list)
    best: float = math.inf  #: lower is better
    best_epoch: int = 0
    best_state: dict[str, Tensor] = field(default_factory=dict)

    @property
    def waited(self) -> int:
        """Epochs since the best one."""
        return self.epoch - self.best_epoch

    def add(
        self,
        row: dict[str, float],
        score: float,
        model: nn.Module,
        copy: Callable[[nn.Module], dict[str, Tensor]],
    ) -> None:
        """Record an epoch; its weights are copied if it is the best one."""
        self.epoch = int(row["epoch"])
        self.history.append(row)
        if score < self.best or not self.best_epoch:
            self.best = math.inf if math.isnan(score) else score
            self.best_epoch = self.epoch
            self.best_state = copy(model)


class StateKeeper:
    """Writes the state of a run, and brings back that of an interrupted one.

    The state is the same, however many processes wrote it. With a strategy that is
    `sharded` each of them writes its tensors to a folder beside the file.

    Parameters
    ----------
    folder : Path, optional
        Where the state is written; without it, nowhere.
    resume_from : Path, optional
        Folder of the state to resume from; it may be `folder`.
    identity : dict, optional
        Of `identity_of`: what has to be the same for a run to resume.
    strategy : Strategy, optional
        Of processes that share the run.
    report : callable
        Hears once that the state cannot be written.

    Attributes
    ----------
    stepped : bool
        Whether training has made a step.

    Raises
    ------
    InputError
        If there is no state in `resume_from`, or it is of another run.
    """

    def __init__(
        self,
        folder: Path | None = None,
        resume_from: Path | None = None,
        identity: Mapping[str, Any] | None = None,
        strategy: Strategy | None = None,
        report: Report = silent,
    ) -> None:
        self.folder = folder
        self.report = report
        self.stepped = False
        self._unsaved = False  # whether the latest state could not be written
        self.identity = dict(identity or {})
        self.strategy = strategy or Strategy(torch.device("cpu"))
        if self.strategy.sharded and folder is None:
            raise InputError(
                "fsdp_sharded_checkpoint has no effect where no training state is "
                "written: leave it out, or name a folder for the state."
            )
        self.resume_from = resume_from
        self._earlier = None if resume_from is None else read_state(resume_from)
        #: what was found out about memory, of `fit_to_memory`
        self.decided: dict[str, Any] = (self._earlier or {}).get("decided", {})
        #: models of the run that are trained already, as `Trained` describes them
        self.finished: list[dict[str, Any]] = (self._earlier or {}).get("finished", [])
        if self._earlier is not None and identity is not None:
            with _readable(resume_from):
                check_same(self._earlier["identity"], self.identity)

    @property
    def resumes(self) -> bool:
        """Whether an interrupted run resumes."""
        return self._earlier is not None

    def restore(self, model: nn.Module, stepper: Stepper) -> Progress:
        """Set model, optimiser, schedule and random numbers to the earlier state."""
        state, self._earlier = self._earlier, None
        if state is None or "progress" not in state:
            return Progress()
        with _readable(self.resume_from):
            return self._restore(state, model, stepper)

    def _restore(
        self, state: dict[str, Any], model: nn.Module, stepper: Stepper
    ) -> Progress:
        if state.get("shards"):
            from aam_core.distributed.sharded_state import load_shards  # slow to import

            groups = state["stepper"]["optimizer"]["param_groups"]
            folder = self.resume_from / state["shards"]
            load_shards(folder, model, stepper.optimizer, groups)
            state["stepper"]["optimizer"] = stepper.optimizer.state_dict()
        else:
            self.strategy.load(model, state["model"])
            _shard_moments(state["stepper"]["optimizer"], stepper.optimizer)
        stepper.load_state_dict(state["stepper"])
        _set_random_of(self.strategy, state)
        return Progress(**state["progress"])

    def begin(self) -> None:
        """Write a state from which a run starts that has no model yet."""
        if self.folder is not None and self.strategy.main:
            self._try_replace(self._head())

    def write(self, model: nn.Module, stepper: Stepper, progress: Progress) -> None:
        """Replace the state in the folder; a crash leaves the one before.

        The state is there for safety: where it cannot be written, as on a full disk,
        the run goes on, and tries again the next time.
        """
        if self.folder is None:
            return
        state = self._head()
        state |= {"stepper": stepper.state_dict(), "progress": vars(progress)}
        random = self.strategy.all_gather(_random())
        state |= {"random": random[0], "random_of_others": random[1:]}
        if self.strategy.sharded:
            if not self._write_shards(state, model, stepper, progress):
                return
        else:
            state["model"] = self._weights(model, progress)
            state["stepper"] = gather_full(state["stepper"], self.strategy.main)
        if self.strategy.main:
            self._try_replace(state)
        self.strategy.barrier()

    def _head(self) -> dict[str, Any]:
        """What every state has."""
        state = {"schema": STATE_SCHEMA, "identity": self.identity}
        return state | {"decided": self.decided, "finished": self.finished}

    def _write_shards(
        self,
        state: dict[str, Any],
        model: nn.Module,
        stepper: Stepper,
        progress: Progress,
    ) -> bool:
        """Let each process write its tensors; False where one of them cannot."""
        from aam_core.distributed.sharded_state import save_shards  # slow to import

        state["shards"] = self.strategy.broadcast(self._new_name(progress.epoch))
        folder = self.folder / state["shards"]
        if failed := save_shards(folder, model, stepper.optimizer):
            self._tell_unsaved(failed)
            return False
        if self.strategy.main:
            state["sum_of_list"] = sum_of(self.folder / state["shards"] / LIST)
        groups = state["stepper"]["optimizer"]["param_groups"]
        state["stepper"]["optimizer"] = {"param_groups": groups}
        return True

    def _try_replace(self, state: Mapping[str, Any]) -> None:
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            self._replace(state)
        except OSError as error:
            self._tell_unsaved(error)
            return
        if self._unsaved:
            self._unsaved = False
            self.report(f"The training state is written to {self.folder} again.")

    def _tell_unsaved(self, error: BaseException) -> None:
        """Say once that there is no net below the run."""
        if self._unsaved:
            return
        self._unsaved = True
        self.report(
            f"The training state cannot be written to {self.folder} ({error}). "
            "Training goes on and tries again after each epoch; until then a run that "
            "is killed loses what it learned since the last state. Make room there."
        )

    def _new_name(self, epoch: int) -> str:
        """A folder that is not there, so that a crash leaves the one before."""
        name = f"{SHARDS}{epoch}"
        while (self.folder / name).exists():
            name += "-again"
        return name

    def _weights(self, model: nn.Module, progress: Progress) -> dict[str, Tensor]:
        if progress.epoch and progress.epoch == progress.best_epoch:
            return progress.best_state  # shared, so that they are written once
        return gather_full(dict(model.state_dict()), self.strategy.main)

    def _replace(self, state: Mapping[str, Any]) -> None:
        write_state(self.folder, state)
        for shards in self.folder.glob(f"{SHARDS}*"):
            if shards.name != state.get("shards"):
                shutil.rmtree(shards)

    def end(self, completed: bool, model: Path) -> None:
        """Leave what a run leaves whose model is written.

        Parameters
        ----------
        completed : bool
            A complete run leaves no state, a stopped one its last.
        model : Path
            Folder of the model. A state beside the model is one file, so that it goes
            where the model goes.
        """
        if self.folder is None or not self.folder.is_dir() or not self.strategy.main:
            return
        if completed:
            self._remove()
        elif self.strategy.sharded and self.folder.resolve() == model.resolve():
            from aam_core.distributed.sharded_state import read_shards  # slow to import

            state = read_state(self.folder)
            if "shards" not in state:
                return  # nothing is trained yet
            state.pop("sum_of_list", None)
            weights, moments = read_shards(self.folder / state.pop("shards"))
            state["model"] = weights
            state["stepper"]["optimizer"]["state"] = moments
            self._replace(state)

    def _remove(self) -> None:
        for name in (STATE, f"{STATE}{PART}"):
            (self.folder / name).unlink(missing_ok=True)
        for shards in self.folder.glob(f"{SHARDS}*"):
            shutil.rmtree(shards)
        if not any(self.folder.iterdir()):
            self.folder.rmdir()


@contextlib.contextmanager
def _readable(folder: Path) -> Iterator[None]:
    """Say of a state whose content fits no run that it is one."""
    try:
        yield
    except InputError:
        raise
    except (LookupError, TypeError, ValueError, AttributeError, RuntimeError) as error:
        raise InputError(
            f"{find_state(folder)} does not fit this run ({type(error).__name__}: "
            f"{error}): it was changed, or another version of q2-aam wrote it. Start "
            "the run anew."
        ) from error


def _shard_moments(state: Mapping[str, Any], optimizer: torch.optim.Optimizer) -> None:
    """Let the optimiser's tensors be sharded as their parameters are."""
    parameters = [p for group in optimizer.param_groups for p in group["params"]]
    for number, values in state["state"].items():
        like = parameters[number].detach()
        for name, value in values.items():
            if isinstance(value, Tensor) and value.shape == like.shape and like.dim():
                values[name] = placed(value, like)


def _random() -> dict[str, Any]:
    """The states of torch's random generators; all else draws from seeds."""
    states: dict[str, Any] = {"cpu": torch.get_rng_state()}
    if torch.cuda.is_available():
        states["cuda"] = torch.cuda.get_rng_state_all()
    if torch.backends.mps.is_available():
        states["mps"] = torch.mps.get_rng_state()
    return states


def _set_random(states: Mapping[str, Any]) -> None:
    torch.set_rng_state(states["cpu"])
    if "cuda" in states and torch.cuda.device_count() == len(states["cuda"]):
        torch.cuda.set_rng_state_all(states["cuda"])
    if "mps" in states and torch.backends.mps.is_available():
        torch.mps.set_rng_state(states["mps"])


def _set_random_of(strategy: Strategy, state: Mapping[str, Any]) -> None:
    """Set this process's generators; new ones start from the main process's."""
    states = [state["random"], *state.get("random_of_others", [])]
    if strategy.world == len(states):
        _set_random(states[strategy.rank])
        return
    _set_random(states[0])
    if strategy.rank:
        torch.manual_seed(torch.initial_seed() + strategy.rank)
