"""New processes that are forked from one that has imported what the tests use.

Importing torch takes a process seconds. What is forked has nothing else from the tests'
own process, but all share one seed of hashes, which those of a user's run do not.
"""

import multiprocessing
from concurrent.futures import ProcessPoolExecutor

METHOD = "forkserver"
multiprocessing.set_forkserver_preload(
    ["tests.core.distributed.spread", "tests.step_memory", "tests.fuzz.artifacts"]
)


def in_new_process(function, *args):
    """What a function returns in a process of its own."""
    context = multiprocessing.get_context(METHOD)
    with ProcessPoolExecutor(max_workers=1, mp_context=context) as pool:
        return pool.submit(function, *args).result()
