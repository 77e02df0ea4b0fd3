"""Processes that are forked from one that has computed with threads.

Threads do not survive a fork, but OpenMP in the child waits for them for ever. QIIME 2
forks for `action.asynchronous(...)`. With one thread the child waits for nobody.
"""

import os
import sys


def one_thread_in_forks() -> None:
    """Let processes that are forked from now on compute with one thread.

    It imports no torch: a process that has none has no threads of it either.
    """
    if hasattr(os, "register_at_fork"):  # not on Windows
        os.register_at_fork(after_in_child=_one_thread)


def _one_thread() -> None:
    if torch := sys.modules.get("torch"):
        torch.set_num_threads(1)
