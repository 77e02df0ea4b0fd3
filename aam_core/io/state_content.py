"""What a training state must hold for a run to resume from it.

A state with its sum holds what was written. One without, as earlier versions wrote
them, may have been changed by anybody.
"""

import math
from collections.abc import Iterator, Mapping
from typing import Any

#: Of what is known of training, and of a network that is trained, in their types.
PROGRESS = {"epoch": int, "history": list, "best_epoch": int, "best_state": dict}
MOST_SAMPLES = 1 << 31  #: of a batch
TRAINED = {"weights": dict, "history": list, "best_epoch": int}


def wrong_in(state: Mapping[str, Any], summed: bool) -> str | None:
    """The name of what no run wrote so; None if nothing is wrong.

    Parameters
    ----------
    state : mapping
        What was read.
    summed : bool
        Whether it is known to be what was written; else its numbers are looked at, too.
    """
    if not _has(state, {"identity": dict}):
        return "identity"
    decided, finished = state.get("decided") or {}, state.get("finished", [])
    if decided and not _is_plan(decided):
        return "decided"
    if not isinstance(finished, list) or not all(_has(m, TRAINED) for m in finished):
        return "finished"
    if "progress" in state and not _is_progress(state["progress"]):
        return "progress"
    if not summed:
        return next((n for n, v in state.items() if not _is_finite(v)), None)
    return None


def _has(value: Any, kinds: Mapping[str, type]) -> bool:
    return isinstance(value, dict) and all(
        isinstance(value.get(name), kind) for name, kind in kinds.items()
    )


def _is_plan(value: Any) -> bool:
    """Whether it says what was decided about memory, see `MemoryPlan`."""
    if not _has(value, {"batch_size": int, "gradient_checkpointing": bool}):
        return False
    return len(value) == 2 and 1 <= value["batch_size"] <= MOST_SAMPLES


def _is_progress(value: Any) -> bool:
    """Whether epochs, history and best epoch go together."""
    if not _has(value, PROGRESS):
        return False
    epoch, best, score = value["epoch"], value["best_epoch"], value.get("best")
    known = isinstance(score, float | int) and not math.isnan(score)
    lowest = min(epoch, 1)
    return known and len(value["history"]) == epoch and lowest <= best <= epoch


def _tensors(value: Any) -> Iterator[Any]:
    """All tensors in nested content."""
    if isinstance(value, Mapping):
        value = list(value.values())
    if isinstance(value, list | tuple):
        for part in value:
            yield from _tensors(part)
    elif hasattr(value, "is_floating_point"):
        yield value


def _is_finite(value: Any) -> bool:
    return all(
        bool(tensor.isfinite().all())
        for tensor in _tensors(value)
        if tensor.is_floating_point()
    )
