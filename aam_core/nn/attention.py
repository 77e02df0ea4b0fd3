"""Which kernel computes an attention.

`sdpa` leaves the choice to PyTorch. `math` is the plain formula. `flash` and
`mem_efficient` hold for attention without a mask; attention that needs one (padding
among the ASVs, sequences of several lengths) may take any kernel that can do it,
because flash attention has no masks on a GPU.
"""

import math
import warnings

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.nn.attention import SDPBackend, sdpa_kernel

from aam_core.config import DeviceOptions
from aam_core.data.packing import Packing
from aam_core.errors import InputError
from aam_core.reporting import Report

BACKENDS = {
    "flash": SDPBackend.FLASH_ATTENTION,
    "mem_efficient": SDPBackend.EFFICIENT_ATTENTION,
    "math": SDPBackend.MATH,
}
#: Never cuDNN: it gives NaN gradients with masks on Hopper (pytorch#196678).
ANY = list(BACKENDS.values())
#: Up to so many keys the plain formula is the fastest on a CPU, without a mask.
SHORT = 64


def attend(
    q: Tensor, k: Tensor, v: Tensor, mask: Tensor | None, implementation: str = "sdpa"
) -> Tensor:
    """Scaled dot-product attention by the wanted kernel.

    The kernel is chosen at each call, not around a run, so that layers which are
    recomputed in the backward pass take the same one.

    Parameters
    ----------
    q, k, v : Tensor
        Queries, keys and values, (B, H, N, D / H).
    mask : Tensor, optional
        What is attended to (boolean), or what is added to the scores.
    implementation : {'sdpa', 'flash', 'mem_efficient', 'math'}
        See the module.

    Returns
    -------
    Tensor
        (B, H, N, D / H).
    """
    if implementation == "sdpa":
        if mask is None and q.device.type == "cpu" and k.shape[-2] <= SHORT:
            return ((q / math.sqrt(q.shape[-1])) @ k.mT).softmax(-1) @ v
        return F.scaled_dot_product_attention(q, k, v, attn_mask=mask)
    backends = [BACKENDS[implementation]]
    if mask is not None and implementation != "math":
        backends = ANY
    with sdpa_kernel(backends):
        return F.scaled_dot_product_attention(q, k, v, attn_mask=mask)


def attend_all(qkv: Tensor, mask: Tensor | None, implementation: str) -> Tensor:
    """Self-attention of queries, keys and values as a layer makes them.

    Parameters
    ----------
    qkv : Tensor
        (B, N, 3, H, D / H).
    mask, implementation
        As of `attend`.

    Returns
    -------
    Tensor
        (B, N, H, D / H).
    """
    q, k, v = qkv.permute(2, 0, 3, 1, 4)
    return attend(q, k, v, mask, implementation).transpose(1, 2)


def attend_packed(qkv: Tensor, packing: Packing, implementation: str) -> Tensor:
    """Self-attention within each sample, of packed ASVs.

    On a CPU large samples are gone through one by one, without masks. Small ones cost
    less than the calls, and a GPU has more to do at a time: then with padding.

    Parameters
    ----------
    qkv : Tensor
        (T, 3, H, D / H).
    packing : Packing
        Whose the T are.
    implementation : str
        As of `attend`.

    Returns
    -------
    Tensor
        (T, H, D / H).
    """
    one_by_one = qkv.device.type == "cpu" and not torch.compiler.is_compiling()
    if one_by_one and len(qkv) > SHORT * len(packing.sizes):
        parts = qkv[None].split(packing.sizes, dim=1)
        found = [attend_all(part, None, implementation) for part in parts]
        return torch.cat(found, dim=1)[0]
    mask = packing.present_SA[:, None, None, :]
    return packing.pack(attend_all(packing.unpack(qkv), mask, implementation))


def set_attention(
    model: nn.Module,
    options: DeviceOptions,
    device: torch.device,
    report: Report,
) -> None:
    """Let every attention of a model use the options' kernel.

    Tells the user where that kernel does not serve all calls.

    Raises
    ------
    InputError
        If this machine does not have the kernel.
    """
    wanted = options.attn_implementation
    layers = [m for m in model.modules() if hasattr(m, "attn_implementation")]
    if wanted != "sdpa":
        _check(wanted, options, device, model)
    for layer in layers:
        layer.attn_implementation = wanted
    if wanted == "flash" and device.type == "cuda":
        report(
            "Flash attention has no masks: attention with padding among the ASVs or "
            "nucleotides takes the fastest other kernel."
        )


def _check(
    wanted: str, options: DeviceOptions, device: torch.device, model: nn.Module
) -> None:
    """Refuse a kernel that cannot compute an attention of this model here."""
    if device.type == "mps":
        raise InputError(
            f"attn_implementation {wanted} has no effect on mps: leave it out."
        )
    precision = options.mixed_precision
    if wanted == "flash" and device.type == "cuda" and precision == "none":
        raise InputError(
            "attn_implementation flash needs mixed_precision bf16 or fp16 on a GPU: "
            "choose one, or leave attn_implementation out."
        )
    dtype = {"fp16": torch.float16, "bf16": torch.bfloat16}.get(precision)
    arch = model.base.arch
    width = arch.embedding_dim // arch.attention_heads
    reason = why_not(BACKENDS[wanted], device, dtype or torch.float32, width)
    if reason is not None:
        raise InputError(
            f"attn_implementation {wanted} is not available on this {device.type} "
            f"({reason}): leave it out, or choose math."
        )


def why_not(
    backend: SDPBackend, device: torch.device, dtype: torch.dtype, width: int = 32
) -> str | None:
    """Why a kernel cannot serve a call without a mask; None if it can."""
    q = torch.zeros(1, 1, 8, width, device=device, dtype=dtype, requires_grad=True)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        try:
            with sdpa_kernel([backend]):
                F.scaled_dot_product_attention(q, q, q).sum().backward()
        except RuntimeError as error:
            return reason_of(error, caught)
    return None


def reason_of(error: Exception, caught: list[warnings.WarningMessage]) -> str:
    """PyTorch's own reason for refusing a kernel: it comes as warnings."""
    for warning in caught:
        text = str(warning.message).split(" (Triggered")[0].strip()
        if text and not text.endswith("because:"):
            return text.rstrip(".")
    return str(error).splitlines()[0].split(". ")[0].rstrip(".")
