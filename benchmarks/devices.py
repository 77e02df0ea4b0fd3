"""Steps of pre-training on any device: time, memory, and fraction of the device's peak.

The peak is what products of two large square matrices reach in the same precision.
What a step needs is by formula (`benchmarks.flops`), without what checkpointing
recomputes.
"""

import time
from collections.abc import Sequence
from typing import Any

import torch

from aam_core.diagnose import machine, wait
from aam_core.nn.attention import set_attention
from aam_core.runtime.device import PRECISIONS
from aam_core.runtime.process_memory import peak_resident
from aam_core.training.memory_estimate import as_text
from benchmarks.contenders import Step, silent
from benchmarks.flops import of_asv, of_slot


def peak_of(precision: str, size: int, device: torch.device) -> float:
    """FLOP/s of the product of two square matrices, the fastest of ten."""
    dtype = PRECISIONS.get(precision, torch.float32)
    a, b = torch.randn(2, size, size, device=device, dtype=dtype)
    best = 0.0
    for _ in range(10):
        wait(device)
        start = time.perf_counter()
        torch.mm(a, b)
        wait(device)
        best = max(best, 2 * size**3 / (time.perf_counter() - start))
    return best


def needed(step: Step) -> int:
    """Floating-point operations of a step."""
    arch, batch = step.model.arch, step.batch
    length = batch.tokens_UL.shape[1]
    of_asvs = len(batch.features) * of_asv(arch, length, training=True)
    return of_asvs + sum(n * of_slot(arch, n, training=True) for n in batch.sizes)


def of_step(step: Step, steps: int) -> dict[str, Any]:
    """Seconds and memory of a step; the mean of `steps` after two others."""
    device = step.device
    for _ in range(2):
        step()
    wait(device)
    if device.type == "cuda":
        torch.cuda.reset_peak_memory_stats(device)
    start = time.perf_counter()
    for _ in range(steps):
        step()
    wait(device)
    seconds = (time.perf_counter() - start) / steps
    memory = peak_resident()
    if device.type == "cuda":
        memory = torch.cuda.max_memory_allocated(device)
    return {"seconds": seconds, "memory": memory}


def table(
    device: str,
    presets: Sequence[str],
    precisions: Sequence[str],
    *,
    steps: int,
    product: int,
    nominal: float | None,
    lean: bool,
    **sizes: Any,
) -> tuple[list[dict[str, Any]], list[str]]:
    """A row for each preset and precision, and what the device is.

    Parameters
    ----------
    device : str
        As the option of that name.
    presets, precisions : sequence of str
        What is measured; see `mixed_precision`.
    steps : int
        Steps that are timed.
    product : int
        Rows of the square matrices of the peak.
    nominal : float, optional
        TFLOP/s that the device is sold with, for one more column.
    lean : bool
        With gradient_checkpointing.
    **sizes
        Of `contenders.Sizes`.
    """
    rows, where = [], torch.device(device)
    peaks = {precision: peak_of(precision, product, where) for precision in precisions}
    for preset in presets:
        for precision in precisions:
            row = {"preset": preset, "precision": precision}
            try:
                step = Step(
                    lean, precision=precision, device=device, preset=preset, **sizes
                )
                set_attention(step.model, step.session.config, where, silent)
                speed = needed(step)
                found = of_step(step, steps)
            except torch.OutOfMemoryError:
                rows.append(row | {"memory": None, "note": "out of memory"})
                continue
            finally:
                step = None  # before the next takes its memory
            speed /= found["seconds"]
            row |= found | {"TFLOP/s": speed / 1e12}
            row["fraction of the matrix peak"] = speed / peaks[precision]
            if nominal:
                row["fraction of the nominal peak"] = speed / 1e12 / nominal
            rows.append(row)
    reached = ", ".join(f"{p} {v / 1e12:.3g}" for p, v in peaks.items())
    notes = [
        machine(where),
        f"Matrix products of {product:,} rows, TFLOP/s: {reached}.",
    ]
    if where.type == "cuda":
        total = torch.cuda.get_device_properties(where).total_memory
        notes.append(f"Memory of tensors at the peak, of {as_text(total)}.")
    return rows, notes
