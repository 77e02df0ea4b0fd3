import os
import warnings

import torch

from aam_core.runtime.forks import one_thread_in_forks


def test_what_is_forked_computes_with_one_thread():
    """With more it would wait for threads that were not forked."""
    before = torch.get_num_threads()
    torch.set_num_threads(2)
    try:
        one_thread_in_forks()
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of the fork itself, since Python 3.12
            child = os.fork()
        if not child:
            os._exit(torch.get_num_threads())
        assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 1
        assert torch.get_num_threads() == 2
    finally:
        torch.set_num_threads(before)
