"""Where the processes of a run come from.

Under torchrun they are there already: each calls `pretrain` or `train`, and they meet
in `start_strategy`. Otherwise a run whose options ask for several processes starts them
on this machine, by torch's elastic launcher, and waits. Inputs go to them by pickling;
what they report comes back through pipes.

Nothing here imports torch at load.
"""

import contextlib
import functools
import logging
import os
import signal
import sys
import threading
import time
import traceback
from collections.abc import Callable, Iterator
from multiprocessing import get_context
from multiprocessing.connection import Connection, wait
from pathlib import Path
from types import FrameType
from typing import TYPE_CHECKING, Any

from aam_core.config import RunConfig
from aam_core.errors import InputError, RunError
from aam_core.reporting import Report

if TYPE_CHECKING:
    import torch

    from aam_core.distributed.strategy import Strategy

PROCESSES = ("auto", "fsdp", "ddp")  #: strategies of several processes
LAUNCHED = "WORLD_SIZE"  #: in the environment of a process that torchrun started
#: What asks a run to end: batch systems send the first, Ctrl-C the second.
SIGNALS = (signal.SIGTERM, signal.SIGINT)
#: Seconds between looks at whether the parent process lives.
WATCH = 0.5


def rank() -> int:
    """The number of this process among those of torchrun; 0 without it."""
    return int(os.environ.get("RANK", 0)) if LAUNCHED in os.environ else 0


def on_all_devices(run: Callable[..., Any]) -> Callable[..., Any]:
    """Let a run start the processes that its options ask for.

    Parameters
    ----------
    run : callable
        Takes a config, a folder for the output, and keyword arguments that can be
        pickled, besides `report`; calls `start_strategy`.
    """

    @functools.wraps(run)
    def start(config: RunConfig, output: Path, **inputs: Any) -> Any:
        if LAUNCHED in os.environ:
            return _as_worker(run, config, output, **inputs)
        number = processes_of(config)
        if not number:
            return run(config, output, **inputs)
        return launch(start, number, config, output, **inputs)

    return start


def processes_of(config: RunConfig) -> int:
    """How many processes have to be started; 0 if this one is enough.

    Raises
    ------
    InputError
        If the machine lacks the devices.
    """
    if config.strategy not in PROCESSES:
        return 0
    import torch

    gpus = torch.cuda.device_count() if config.device in ("auto", "cuda") else 0
    if gpus and config.devices > gpus:
        raise InputError(
            f"devices is {config.devices}, but this machine has {gpus} GPUs: choose "
            "that many at most."
        )
    number = config.devices or gpus
    if config.strategy == "auto":
        return number if number > 1 else 0
    if not number:
        raise InputError(
            f"strategy {config.strategy} takes all GPUs, but there is none: choose "
            "the number of processes on the CPU by devices."
        )
    return number


def start_strategy(config: RunConfig, device: "torch.device") -> "Strategy":
    """The `Strategy` of this process, which meets the others here.

    Parameters
    ----------
    config : PretrainConfig or TrainConfig
        All options.
    device : torch.device
        Of `choose_device`.

    Raises
    ------
    InputError
        If strategy and devices do not fit the machine, or how the run was started.
    """
    import torch

    from aam_core.distributed.strategy import DataParallel, Strategy

    world = int(os.environ.get(LAUNCHED, 1))
    if world > 1 and config.strategy not in PROCESSES:
        raise InputError(
            f"torchrun started {world} processes, but strategy is {config.strategy}, "
            "which uses one: choose strategy auto, fsdp or ddp."
        )
    if config.fsdp_cpu_offload and device.type != "cuda":
        raise InputError(
            f"fsdp_cpu_offload has no effect on {device.type}: leave it out."
        )
    if config.strategy == "data-parallel":
        number = torch.cuda.device_count() if device.type == "cuda" else 0
        number = min(number, config.devices or number)
        if number < 2 or config.devices > number:
            raise InputError(
                "strategy data-parallel needs several GPUs "
                f"(devices is {config.devices}, and {number} can be used): leave "
                "strategy out, or choose another."
            )
        return DataParallel([torch.device("cuda", n) for n in range(number)])
    if (
        config.strategy == "none"
        or LAUNCHED not in os.environ
        or (config.strategy == "auto" and world == 1)
    ):
        return Strategy(device)
    from aam_core.distributed.processes import Processes

    return Processes(config, _join(device))


def _join(device: "torch.device") -> "torch.device":
    """Meet the other processes; the device of this one."""
    import torch
    import torch.distributed as dist

    if device.type == "mps":
        raise InputError("Several processes cannot use mps: choose device cpu.")
    if device.type == "cpu":
        dist.init_process_group("gloo")
        return device
    device = torch.device("cuda", int(os.environ.get("LOCAL_RANK", 0)))
    torch.cuda.set_device(device)
    dist.init_process_group("cpu:gloo,cuda:nccl")
    return device


def _as_worker(
    run: Callable[..., Any], config: RunConfig, output: Path, **inputs: Any
) -> Any:
    """Run as one of the processes of torchrun."""
    if config.devices and not _ours():
        raise InputError(
            f"devices is {config.devices}, but torchrun has started the processes "
            "already: leave devices out."
        )
    if "TORCHELASTIC_RUN_ID" in os.environ:  # the parent outlives us by design
        threading.Thread(
            target=_end_with_parent, args=(os.getppid(),), daemon=True
        ).start()
    found = run(config, output, **inputs)
    import torch.distributed as dist

    if dist.is_initialized():
        dist.barrier()  # of the files of the first process
        dist.destroy_process_group()
    return found


def _ours() -> bool:
    return os.environ.get("TORCHELASTIC_RUN_ID", "").startswith("q2-aam")


def _end_with_parent(parent: int) -> None:
    while os.getppid() == parent:
        time.sleep(WATCH)
    os._exit(1)


def launch(
    run: Callable[..., Any],
    number: int,
    config: RunConfig,
    output: Path,
    *,
    report: Report | None = None,
    **inputs: Any,
) -> Any:
    """Run in several processes on this machine.

    SIGTERM is passed on to them; they then end as one process would, with a model.

    Parameters
    ----------
    run : callable
        What each of them calls.
    number : int
        Processes.
    config, output, **inputs
        Passed on to all of them.
    report : callable, optional
        Takes what they report.

    Returns
    -------
    object
        What the first process returned.

    Raises
    ------
    InputError
        If a process raised one.
    RunError
        If it ended one after training had begun.
    RuntimeError
        If a process failed or was killed; with its traceback.
    """
    # A pipe each: one that is killed while it speaks would leave a queue locked.
    pipes = [get_context("spawn").Pipe(duplex=False) for _ in range(number)]
    readers, writers = map(list, zip(*pipes, strict=True))
    heard = _Heard(report or logging.getLogger("aam_core").info)
    listener = threading.Thread(target=heard.listen, args=(readers,), daemon=True)
    listener.start()
    outcome: dict[str, Any] = {}
    agent = threading.Thread(
        target=_launch,
        args=(outcome, number, (run, config, output, inputs, writers)),
        daemon=True,
    )
    with _passed_on(heard), _without_main_script():
        agent.start()
        try:
            while agent.is_alive():
                agent.join(0.2)
        except BaseException:
            heard.send(signal.SIGKILL)
            raise
    for writer in writers:
        writer.close()
    listener.join(10)
    if "error" in outcome:
        raise heard.error(outcome["error"]) from None
    return outcome["results"][0]


def _launch(outcome: dict[str, Any], number: int, args: tuple) -> None:
    """Start the processes and wait; in a thread, so that signals are ours to handle."""
    from torch.distributed.launcher.api import LaunchConfig, elastic_launch

    options = LaunchConfig(
        min_nodes=1,
        max_nodes=1,
        nproc_per_node=number,
        run_id=f"q2-aam-{os.getpid()}",
        rdzv_backend="c10d",
        rdzv_endpoint="localhost:0",
        local_addr="localhost",
        max_restarts=0,
        start_method="spawn",
    )
    with _quiet("torch.distributed.elastic"):
        try:
            outcome["results"] = elastic_launch(options, _work)(*args)
        except BaseException as error:
            outcome["error"] = error


def _work(
    run: Callable[..., Any],
    config: RunConfig,
    output: Path,
    inputs: dict,
    writers: list[Connection],
) -> Any:
    """What each process does."""
    say = writers[rank()].send
    say(("pid", os.getpid()))
    try:
        found = run(config, output, report=lambda line: say(("report", line)), **inputs)
    except BaseException as error:
        kind = "run" if isinstance(error, RunError) else "error"
        kind = "input" if isinstance(error, InputError) else kind
        text = traceback.format_exc() if kind == "error" else str(error)
        say((kind, (rank(), text)))
        sys.stderr.flush()
        os._exit(1)  # others may wait for this one in a way that only its end resolves
    return found if rank() == 0 else None


class _Heard:
    """What the processes said."""

    def __init__(self, report: Report) -> None:
        self.report = report
        self.pids: list[int] = []
        self.asked_to_end = False
        self.errors: list[tuple[str, int, str]] = []

    def listen(self, readers: list[Connection]) -> None:
        """Hear them until all have ended."""
        while readers:
            for reader in wait(readers):
                try:
                    self._hear(*reader.recv())
                except (EOFError, OSError):
                    readers.remove(reader)

    def _hear(self, kind: str, what: Any) -> None:
        if kind == "report":
            self.report(what)
        elif kind == "pid":
            self.pids.append(what)
            if self.asked_to_end:  # before this process was there
                self.send(signal.SIGTERM)
        else:
            self.errors.append((kind, *what))

    def send(self, number: signal.Signals) -> None:
        """Send all of them a signal."""
        self.asked_to_end = True
        for pid in self.pids:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, number)

    def error(self, raised: BaseException) -> Exception:
        """Why the processes failed; the others fail too when one has ended."""
        for kind, raised_as in (("input", InputError), ("run", RunError)):
            if found := [text for said, _, text in self.errors if said == kind]:
                return raised_as(found[0])
        killed = _killed(raised)
        if killed:
            return RuntimeError(
                f"{killed}. All processes of the run were ended. SIGKILL often means "
                "that memory ran out: lower batch_size or token_limit, or choose fewer "
                "devices."
            )
        if self.asked_to_end and not self.errors:
            return RunError(
                "The run was asked to end (SIGTERM) before its training had begun or "
                "after it: there is no result."
            )
        for _, number, text in self.errors:
            return RuntimeError(f"Process {number} of the run failed:\n{text}")
        return RuntimeError(f"The processes of the run failed: {raised}")


def _killed(raised: BaseException) -> str | None:
    """Which process was killed; by SIGTERM the launcher itself ends the others."""
    for failure in getattr(raised, "failures", {}).values():
        if failure.exitcode < 0 and failure.exitcode != -signal.SIGTERM:
            name = signal.Signals(-failure.exitcode).name
            return f"Process {failure.local_rank} of the run was killed ({name})"
    return None


@contextlib.contextmanager
def _passed_on(heard: _Heard) -> Iterator[None]:
    """Pass requests to end on to the processes, where Python lets us handle signals.

    A terminal sends SIGINT to them, too; what they get from here is always SIGTERM.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return

    def pass_on(number: int, frame: FrameType | None) -> None:
        if number == signal.SIGINT and heard.asked_to_end:
            raise KeyboardInterrupt
        heard.send(signal.SIGTERM)

    numbers = [n for n in SIGNALS if signal.getsignal(n) != signal.SIG_IGN]
    before = {number: signal.signal(number, pass_on) for number in numbers}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler or signal.SIG_DFL)


@contextlib.contextmanager
def _without_main_script() -> Iterator[None]:
    """Keep new processes from running the user's script again, as Python would."""
    main = sys.modules["__main__"]
    names = ("__spec__", "__file__")
    kept = {name: vars(main)[name] for name in names if name in vars(main)}
    for name in kept:
        delattr(main, name)
    main.__spec__ = None
    try:
        yield
    finally:
        vars(main).update(kept)


@contextlib.contextmanager
def _quiet(name: str) -> Iterator[None]:
    """Silence a library's warnings, of which the user could do nothing."""
    logger = logging.getLogger(name)
    level = logger.level
    logger.setLevel(logging.CRITICAL)
    try:
        yield
    finally:
        logger.setLevel(level)
