"""`python -m aam_core.diagnose`: which attention kernels work on this machine.

Each kernel of PyTorch computes attention with the shapes of the model, forward and
backward, in each precision and with each kind of mask, and is compared with the plain
formula (`math` in float32) on the same numbers. This finds kernels that give NaN (as
cuDNN's does on Hopper GPUs with masks, pytorch#196678), wrong gradients, or no speed.
"""

import sys
import time
import warnings
from dataclasses import dataclass

import click
import torch
from torch import Tensor
from torch.nn import functional as F
from torch.nn.attention import SDPBackend, sdpa_kernel

from aam_core.nn.attention import BACKENDS, reason_of

KERNELS = BACKENDS | {"cudnn": SDPBackend.CUDNN_ATTENTION}
DTYPES = {"fp32": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16}
#: No mask; padding (boolean); abundances (added, learned).
MASKS = ("none", "padding", "bias")
#: Largest difference from `math` in float32, relative to its largest value. The
#: half precisions round to 8 and 11 bits, and attention rounds a few times.
TOLERANCE = {"fp32": 1e-3, "bf16": 5e-2, "fp16": 1e-2}
ROW = "{:<14} {:<5} {:<8} {:>9} {:>9} {:>9}  {}"


@dataclass(frozen=True)
class Result:
    """One kernel in one precision with one kind of mask."""

    kernel: str
    dtype: str
    mask: str
    verdict: str  #: ok, NaN, wrong, or why it was skipped
    forward: float | None = None  #: largest relative difference
    backward: float | None = None
    milliseconds: float | None = None

    @property
    def failed(self) -> bool:
        """Whether the kernel computed something false."""
        return self.verdict in ("NaN", "wrong")

    def __str__(self) -> str:
        """A row of the table."""
        numbers = (self.forward, self.backward, self.milliseconds)
        formats = ("{:.1e}", "{:.1e}", "{:.2f}")
        cells = [
            "–" if n is None else f.format(n)
            for n, f in zip(numbers, formats, strict=True)
        ]
        return ROW.format(self.kernel, self.dtype, self.mask, *cells, self.verdict)


def inputs_of(
    mask: str, shape: tuple[int, int, int, int], device: torch.device
) -> tuple[list[Tensor], Tensor | None]:
    """Queries, keys and values (B, H, N, d) in float32, and the mask."""
    generator = torch.Generator().manual_seed(0)
    qkv = [torch.randn(shape, generator=generator) for _ in range(3)]
    batch, _, length, _ = shape
    sizes = torch.randint(1, length + 1, (batch, 1), generator=generator)
    keep = (torch.arange(length) < sizes)[:, None, None, :]
    made = {
        "none": None,
        "padding": keep,
        "bias": torch.randn(keep.shape, generator=generator).masked_fill(
            ~keep, -torch.inf
        ),
    }[mask]
    return [t.to(device) for t in qkv], None if made is None else made.to(device)


def attention(
    kernel: SDPBackend, qkv: list[Tensor], mask: Tensor | None, dtype: torch.dtype
) -> list[Tensor]:
    """Output of the attention and all its gradients, by one kernel."""
    leaves = [t.to(dtype).detach().requires_grad_() for t in qkv]
    bias = mask
    if mask is not None and mask.is_floating_point():
        bias = mask.to(dtype).detach().requires_grad_()
        leaves.append(bias)
    with sdpa_kernel([kernel]):
        out = F.scaled_dot_product_attention(*leaves[:3], attn_mask=bias)
    out.float().square().sum().backward()
    return [out.detach(), *(leaf.grad for leaf in leaves)]


def compare(
    kernel: str, dtype: str, mask: str, shape: tuple[int, ...], device: torch.device
) -> Result:
    """Run one kernel and compare it with `math` in float32."""
    qkv, bias = inputs_of(mask, shape, device)
    # both see the numbers as the precision rounds them
    qkv = [t.to(DTYPES[dtype]).float() for t in qkv]
    if bias is not None and bias.is_floating_point():
        bias = bias.to(DTYPES[dtype]).float()
    right = attention(SDPBackend.MATH, qkv, bias, torch.float32)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        try:
            found = attention(KERNELS[kernel], qkv, bias, DTYPES[dtype])
            spent = _seconds(kernel, qkv, bias, dtype, device)
        except RuntimeError as error:
            return Result(kernel, dtype, mask, f"skipped: {reason_of(error, caught)}")
    errors = [_difference(f, r) for f, r in zip(found, right, strict=True)]
    forward, backward = errors[0], max(errors[1:])
    verdict = "ok" if max(forward, backward) <= TOLERANCE[dtype] else "wrong"
    if not all(torch.isfinite(t).all() for t in found):
        verdict, forward, backward = "NaN", None, None
    return Result(kernel, dtype, mask, verdict, forward, backward, 1000 * spent)


def _difference(found: Tensor, right: Tensor) -> float:
    return float((found.float() - right).abs().max() / right.abs().max())


def _seconds(
    kernel: str, qkv: list[Tensor], bias: Tensor | None, dtype: str, device
) -> float:
    """Forward and backward, the fastest of three."""
    times = []
    for _ in range(3):
        wait(device)
        start = time.perf_counter()
        attention(KERNELS[kernel], qkv, bias, DTYPES[dtype])
        wait(device)
        times.append(time.perf_counter() - start)
    return min(times)


def wait(device: torch.device) -> None:
    """Wait until a device has computed all that it was given."""
    if device.type != "cpu":
        torch.accelerator.synchronize()


def machine(device: torch.device) -> str:
    """What computes, for the head of the table."""
    name = "CPU"
    if device.type == "cuda":
        major, minor = torch.cuda.get_device_capability(device)
        name = f"{torch.cuda.get_device_name(device)} (capability {major}.{minor})"
    build = f"ROCm {torch.version.hip}" if torch.version.hip else None
    build = build or (f"CUDA {torch.version.cuda}" if torch.version.cuda else "no GPU")
    return f"torch {torch.__version__} ({build}) on {device.type}: {name}"


@click.command()
@click.option("--device", default=None, help="Device; default: a GPU, if there is one.")
@click.option("--batch", default=8, help="Samples.")
@click.option("--length", default=128, help="ASVs of a sample.")
@click.option("--heads", default=4, help="Attention heads.")
@click.option("--width", default=32, help="Width of a head.")
def main(device: str | None, batch: int, length: int, heads: int, width: int) -> None:
    """Compare the attention kernels of PyTorch on this machine.

    Ends with status 1 if a kernel gives NaN or differs from the plain formula.
    """
    if device is None:
        device = "cuda" if torch.cuda.is_available() else "cpu"
    if device.startswith("cuda") and not torch.cuda.is_available():
        raise click.ClickException("There is no GPU that PyTorch can use: try cpu.")
    where = torch.device(device)
    click.echo(machine(where))
    click.echo(ROW.format("kernel", "dtype", "mask", "forward", "backward", "ms", ""))
    failed = []
    for kernel in KERNELS:
        for dtype in DTYPES:
            for mask in MASKS:
                shape = (batch, heads, length, width)
                result = compare(kernel, dtype, mask, shape, where)
                click.echo(str(result))
                failed += [result] * result.failed
    for result in failed:
        click.echo(
            f"Do not use {result.kernel} in {result.dtype} with mask {result.mask}: "
            f"{result.verdict}."
            + " q2-aam never uses cudnn."
            * (result.kernel == "cudnn")
        )
    sys.exit(1 if failed else 0)


if __name__ == "__main__":
    main()
