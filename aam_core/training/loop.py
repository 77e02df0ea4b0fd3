"""The training loop: epochs, progress, early stopping, best model."""

import math
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import nullcontext
from dataclasses import dataclass, field
from pathlib import Path

import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader

from aam_core.config import OptimiserOptions
from aam_core.data.batches import Batch, start
from aam_core.distributed.strategy import Stop, Strategy
from aam_core.errors import NotFinite, some
from aam_core.metrics import sign_of
from aam_core.reporting import Report, duration, progress
from aam_core.runtime.device import autocast
from aam_core.runtime.process_memory import return_freed
from aam_core.training.events import EventFiles
from aam_core.training.optimiser import Stepper
from aam_core.training.resume import Progress, StateKeeper
from aam_core.training.stop import Interrupted, StopRequest

#: Progress labels of the losses.
LABELS = {
    "unifrac_loss": "UL",
    "nuc_loss": "NL",
    "count_loss": "NCL",
    "target_loss": "RL",
    "nuc_accuracy": "NA%",
}
#: What to do about a loss that is not finite.
HINT = "a lower lr, max_grad_norm 1, or mixed_precision none usually helps"


@dataclass
class Objective:
    """What a run minimises.

    Attributes
    ----------
    model : torch.nn.Module
        What is trained.
    losses : callable
        Takes a batch on the device; returns the total loss and its parts, which
        are shown and recorded (unweighted; entries without a gradient may be
        added, such as an accuracy).
    validate : callable
        Returns the validation scores of one epoch by name, with `val_loss`.
    select : str
        The score that selects the best epoch.
    labels : dict
        Overrides of `LABELS`.
    samples : callable
        Returns the ids of a batch's samples.
    """

    model: nn.Module
    losses: Callable[[Batch], tuple[Tensor, dict[str, Tensor]]]
    validate: Callable[[], dict[str, float]]
    select: str = "val_loss"
    labels: dict[str, str] = field(default_factory=dict)
    samples: Callable[[Batch], Sequence[str]] = lambda batch: ()


@dataclass(frozen=True)
class Fit:
    """What training ended with."""

    history: list[dict[str, float]]  #: one row per epoch
    best_epoch: int
    best_state: dict[str, Tensor]
    stopped: str | None = None  #: why training ended early, if it did

    @property
    def completed(self) -> bool:
        """Whether training reached its end."""
        return self.stopped is None


def fit(
    objective: Objective,
    batches: DataLoader,
    config: OptimiserOptions,
    device: torch.device,
    *,
    report: Report,
    tensorboard: Path | None = None,
    keeper: StateKeeper | None = None,
    strategy: Strategy | None = None,
    stop: Stop | None = None,
    models_after: int = 0,
) -> Fit:
    """Train until the epochs are over or the validation score stops improving.

    Parameters
    ----------
    objective : Objective
        Model, losses and validation.
    batches : DataLoader
        Of `aam_core.data.batches.loader`; its sampler shuffles by epoch.
    config : OptimiserOptions
        Also a `DeviceOptions`.
    device : torch.device
        Where the model is.
    report : callable
        Takes sentences for the user.
    tensorboard : Path, optional
        Folder for TensorBoard's event files.
    keeper : StateKeeper, optional
        Writes the state of training after each epoch, and brings back that of an
        interrupted run.
    strategy : Strategy, optional
        How devices share the work; without it there is one.
    stop : Stop, optional
        A request to end that is watched already; without it, one is watched here.
    models_after : int
        Models that will be trained after this one; the progress shows how long all
        of them may take.

    Returns
    -------
    Fit

    Raises
    ------
    InputError
        If the warm-up is longer than the run.
    NotFinite
        If the loss is no finite number before the first epoch is over. Later it ends
        training as a request does.
    Interrupted
        If `stop` asks to end while the very first batch is waited for.
    """
    keeper = keeper or StateKeeper()
    strategy = strategy or Strategy(device)
    config = config.filled()
    stepper = Stepper(objective.model, batches, config, device)
    resumed = keeper.resumes
    progress = keeper.restore(objective.model, stepper)
    if resumed:
        report(f"The run resumes after epoch {progress.epoch} of {config.epochs}.")
    folder = tensorboard if strategy.main else None
    written = EventFiles(folder, progress.epoch + 1, report)
    watched = nullcontext(stop)
    if stop is None:
        watched = strategy.stop(StopRequest(config.max_hours))
    with watched as stop, written as events:
        keeper.write(objective.model, stepper, progress)
        reason = _run_epochs(
            objective,
            batches,
            stepper,
            progress,
            stop,
            keeper,
            events,
            report,
            strategy,
            models_after,
        )
    return_freed()
    shown = progress.history[progress.best_epoch - 1][objective.select]
    report(f"Best epoch: {progress.best_epoch} with {objective.select} {shown:.4f}.")
    if math.isnan(shown):
        report(
            f"{objective.select} could not be computed in any epoch, so that the first "
            "one was kept: choose another best_metric, or a larger test_size."
        )
    if reason is not None:
        report(
            f"Training stopped after epoch {progress.epoch} of {config.epochs} because "
            f"{reason}; the model is that of the best epoch so far and is marked "
            "as not completed."
        )
    return Fit(progress.history, progress.best_epoch, progress.best_state, reason)


def _run_epochs(
    objective: Objective,
    batches: DataLoader,
    stepper: "Stepper",
    progress: Progress,
    stop: StopRequest,
    keeper: StateKeeper,
    events: EventFiles,
    report: Report,
    strategy: Strategy,
    models_after: int,
) -> str | None:
    """Train from where `progress` is; why that ended early, if it did."""
    config = stepper.config
    sign = sign_of(objective.select)
    started, first = time.monotonic(), progress.epoch + 1
    for epoch in range(progress.epoch + 1, config.epochs + 1):
        if progress.waited >= config.patience:
            report(
                f"Stopped after epoch {progress.epoch}: no better {objective.select} "
                f"for {config.patience} epochs (patience)."
            )
            return None
        if (reason := stop.reason) and progress.epoch:
            return reason
        batches.sampler.epoch = epoch
        row = {"epoch": epoch, "lr": stepper.lr}
        title = f"Epoch {epoch}/{config.epochs}"
        if epoch > first:
            each = (time.monotonic() - started) / (epoch - first)
            ahead = config.epochs - epoch + 1 + models_after * config.epochs
            title += f", at most {duration(each * ahead)} left"
        try:
            row |= _train_epoch(objective, batches, stepper, title, stop, strategy.main)
            reason = stop.reason
            if reason and progress.epoch:
                return reason
            scores = strategy.broadcast(strategy.inside(objective.validate))
            if not math.isfinite(scores["val_loss"]):
                raise NotFinite(
                    f"val_loss is no longer a finite number after epoch {epoch}: {HINT}"
                )
        except NotFinite as error:
            if not progress.epoch:
                raise
            return str(error)
        finally:
            keeper.stepped |= stepper.taken > 0
        row |= {name: float(v) for name, v in scores.items()}
        score = sign * row[objective.select]
        stepper.end_epoch(score)
        progress.add(row, score, objective.model, strategy.weights)
        events.add(row)
        if reason:
            return reason  # a part of the first epoch is better than no model
        keeper.write(objective.model, stepper, progress)
    return None


def _train_epoch(
    objective: Objective,
    batches: DataLoader,
    stepper: Stepper,
    title: str,
    stop: StopRequest,
    shown: bool = True,
) -> dict[str, float]:
    """One pass over the training samples, or a part if `stop` asks to end.

    Returns the mean of each loss. The progress is `shown` by one process only.

    Raises
    ------
    NotFinite
        That names the samples of the batch.
    """
    objective.model.train()
    labels = LABELS | objective.labels
    group = stepper.config.accumulation()
    sums: dict[str, Tensor] = {}
    recent: list[tuple[Sequence[str], Tensor]] = []
    bar = progress(
        _heeding(batches, stop, stepper),
        total=len(batches),
        desc=title,
        unit="batch",
        disable=not shown,
    )
    means: dict[str, float] = {}
    for number, batch in enumerate(bar, start=1):
        with autocast(stepper.config, stepper.device):
            total, parts = objective.losses(batch.to(stepper.device))
        if not stepper.taken:
            ids = objective.samples(batch)
            _check_finite(float(total.detach()), [(ids, total.detach())], title)
        left = len(batches) - (number - 1) // group * group
        stepper.backward(total, min(group, left))
        if number % group == 0 or number == len(batches):
            stepper.step()
        for name, value in {"total_loss": total, **parts}.items():
            sums[name] = sums.get(name, 0.0) + value.detach()
        recent.append((objective.samples(batch), total.detach()))
        cut = stop.reason is not None
        if cut or number == 1 or number % 10 == 0 or number == len(batches):
            means = {n: float(v) / number for n, v in sums.items()}
            _check_finite(means["total_loss"], recent, title)
            recent.clear()
            bar.set_postfix_str(_postfix(means, stepper.lr, labels), refresh=False)
        if cut:
            break
        if stepper.taken:
            stop.learned()
    return {f"train_{name}": value for name, value in means.items()}


def _heeding(batches: DataLoader, stop: Stop, stepper: Stepper) -> Iterator[Batch]:
    """The batches of an epoch; a request to end is heeded while one is waited for.

    Raises
    ------
    Interrupted
        If it comes before the very first batch.
    """
    made, apart = start(batches), getattr(batches, "num_workers", 0) > 0
    while True:
        try:
            with stop.waiting() if apart else nullcontext():
                batch = next(made, None)
        except Interrupted:
            if not stepper.taken:
                raise
            return
        if batch is None:
            return
        yield batch


def _postfix(means: dict[str, float], lr: float, labels: dict[str, str]) -> str:
    parts = [f"TL {means['total_loss']:.4f}", f"LR {lr:.1e}"]
    for name, label in labels.items():
        if name in means:
            percent = label.endswith("%")
            value = f"{100 * means[name]:.1f}" if percent else f"{means[name]:.4f}"
            parts.append(f"{label} {value}")
    return ", ".join(parts)


def _check_finite(
    loss: float, recent: Sequence[tuple[Sequence[str], Tensor]], title: str
) -> None:
    """Raise if the loss of a batch, of the latest ones, is not finite."""
    if math.isfinite(loss):
        return
    wrong = [ids for ids, value in recent if not math.isfinite(float(value))]
    ids = wrong[0] if wrong else recent[-1][0]
    of = f" of the batch with the samples {some(ids)}" if len(ids) else ""
    raise NotFinite(
        f"the loss{of} is no longer a finite number ({title.partition(',')[0]}): {HINT}"
    )
