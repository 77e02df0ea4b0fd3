"""What the processes that `launch` starts in tests do; each imports no more."""

import os
import signal
import threading
import time

import torch.distributed as dist

from aam_core.distributed.launch import on_all_devices, rank
from aam_core.errors import InputError


@on_all_devices
def doomed(config, output, report, victim):
    """A process of `launch` that is killed, or finds an error; the others wait."""
    if output == "deaf":  # as one that computes, and does not come to hear it
        signal.signal(signal.SIGINT, signal.SIG_IGN)
    report(f"{rank()} {os.getpid()}")
    if victim is not None:  # both are there before one ends
        dist.init_process_group("gloo")
        dist.barrier()
    if rank() == victim and output == "killed":
        os.kill(os.getpid(), signal.SIGKILL)
    if rank() == victim and output == "refused":
        raise InputError("this cannot be")
    if rank() == victim and output == "broken":
        raise KeyError("of a mistake")
    if rank() == victim and output == "speaking":
        threading.Timer(0.5, os.kill, (os.getpid(), signal.SIGKILL)).start()
        while True:
            report("0" * 10**6)
    time.sleep(600)
