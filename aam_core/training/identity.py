"""What makes a run the continuation of an interrupted one."""

import zlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from aam_core.config.option import Options
from aam_core.data.inputs import Inputs
from aam_core.errors import InputError, some

#: Options that may differ when a run resumes: they do not change what is computed.
FREE = (
    "device",
    "num_workers",
    "max_hours",
    "memory_profile",
    "cache_memory",
    "strategy",
    "devices",
    "fsdp_sharded_checkpoint",
    "fsdp_cpu_offload",
)
#: Training samples whose distances are compared with those of the interrupted run.
COMPARED = 8


def identity_of(
    command: str,
    options: Options,
    inputs: Inputs,
    split: Mapping[str, Any],
    **more: Any,
) -> dict[str, Any]:
    """What a run that resumes must have in common with the interrupted one.

    Parameters
    ----------
    command : str
        `pretrain` or `train`.
    options : Options
        All options of the command.
    inputs : Inputs
        Samples and distances.
    split : mapping
        Ids of the samples of `training` and `validation`, and of `folds`, if any.
    **more : array or Path, optional
        Whatever else the run reads, by the name that a message should give it.
    """
    study = inputs.study
    counts = study.table.counts
    read = {
        "table": np.concatenate(
            [part.astype(np.int64) for part in (counts.indices, counts.data)]
        ),
        "sequences": study.tokens_FL,
        **more,
    }
    few = []
    if inputs.distances is not None:
        first = np.isin(study.table.sample_ids, split["training"][:COMPARED])
        few = inputs.distances(np.flatnonzero(first))
    return {
        "command": command,
        "options": options.to_dict(),
        **split,
        "distances": np.asarray(few, dtype=float).ravel().tolist(),
        "read": {name: checksum(value) for name, value in read.items()},
    }


def checksum(value: Any) -> int | None:
    """A number that tells arrays, or files, from others; None of None."""
    if value is None:
        return None
    if isinstance(value, Path):
        return zlib.crc32(value.read_bytes())
    array = np.asarray(value)
    if array.dtype == object:
        return zlib.crc32(repr(array.tolist()).encode())
    return zlib.crc32(
        np.ascontiguousarray(array).tobytes(), zlib.crc32(repr(array.shape).encode())
    )


def check_same(earlier: Mapping[str, Any], now: Mapping[str, Any]) -> None:
    """Raise unless a run is the continuation of the interrupted one.

    Raises
    ------
    InputError
        That names the first option, or the data, that differs.
    """
    hint = "To resume, repeat the command of the interrupted run as it was."
    if earlier["command"] != now["command"]:
        raise InputError(
            f"The interrupted run is one of {earlier['command']}, not of "
            f"{now['command']}. {hint}"
        )
    before = earlier["options"]
    if before.get("preset", "") is None:  # versions that left it open in their states
        before = before | {"preset": now["options"]["preset"]}
    for name, value in now["options"].items():
        if name not in FREE and name in before and before[name] != value:
            raise InputError(
                f"{name} is {value!r}, but was {before[name]!r} in the interrupted "
                f"run. {hint} Only {', '.join(FREE)} may differ."
            )
    for name in ("training", "validation"):
        if other := set(earlier[name]) ^ set(now[name]):
            raise InputError(
                f"The {name} samples are not those of the interrupted run: "
                f"{some(sorted(other))}. {hint}"
            )
    if earlier.get("folds") != now.get("folds"):
        raise InputError(f"The folds are not those of the interrupted run. {hint}")
    wrong = [n for n, value in now["read"].items() if earlier["read"].get(n) != value]
    if len(earlier["distances"]) != len(now["distances"]) or not np.allclose(
        earlier["distances"], now["distances"], atol=1e-4
    ):
        wrong.append("distances")
    if wrong:
        raise InputError(f"Not what the interrupted run read: {some(wrong)}. {hint}")
