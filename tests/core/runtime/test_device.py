"""What runs on which device, with which kernels."""

import os
import subprocess
import sys

import pytest
import torch
from torch import nn

from aam_core.commands.pretrain import pretrain
from aam_core.config import MemoryOptions, PredictConfig, PretrainConfig
from aam_core.errors import InputError
from aam_core.nn import attention, compilation
from aam_core.nn.attention import ANY, BACKENDS, attend, set_attention
from aam_core.nn.compilation import compile_layers
from aam_core.nn.transformer import Attention, Transformer
from aam_core.reporting import silent
from aam_core.runtime import device
from aam_core.runtime.device import choose_device, tell_precision
from tests import generate

CPU = torch.device("cpu")


class Model(nn.Module):
    """Stands for an encoder."""

    base = property(lambda self: self)

    def __init__(self):
        super().__init__()
        self.arch = PretrainConfig(embedding_dim=16, attention_heads=2)
        self.layer = Attention(16, 2)


# --- options that need a GPU ---


@pytest.mark.parametrize(
    ("option", "value"),
    [
        ("tf32", True),
        ("use_expandable_segments", True),
        ("auto_batch_size", True),
    ],
)
def test_options_without_effect_on_a_cpu(option, value):
    with pytest.raises(InputError, match=rf"{option} needs an NVIDIA or AMD GPU"):
        choose_device(PretrainConfig(device="cpu", **{option: value}))


def test_memory_fraction_where_memory_is_known(monkeypatch):
    choose_device(PretrainConfig(device="cpu", max_memory_fraction=0.5))
    monkeypatch.setattr(torch.backends.mps, "is_available", lambda: True)
    with pytest.raises(InputError, match="max_memory_fraction has no effect on mps"):
        choose_device(PretrainConfig(device="mps", max_memory_fraction=0.5))


@pytest.mark.parametrize(
    ("capabilities", "precision", "warned"),
    [
        ({"avx512_bf16": False, "amx_bf16": False}, "bf16", True),
        ({"avx512_bf16": False, "amx_bf16": False}, "none", False),
        ({"avx512_bf16": False, "amx_bf16": True}, "bf16", False),
        ({"avx512_bf16": True}, "bf16", False),
        ({"sve": True}, "bf16", False),
    ],
)
def test_a_processor_without_bf16(monkeypatch, capabilities, precision, warned):
    monkeypatch.setattr(
        torch.cpu, "get_capabilities", lambda: capabilities, raising=False
    )
    lines = []
    config = PretrainConfig(mixed_precision=precision)
    tell_precision(config, torch.device("cpu"), lines.append)
    assert [("no instructions for bf16" in line) for line in lines] == [True] * warned


@pytest.fixture
def gpu(monkeypatch):
    """A machine that says it has a GPU; global settings come back afterwards."""
    matmul = torch.backends.cuda.matmul
    before = matmul.fp32_precision, torch.backends.cuda.cudnn_sdp_enabled()
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setenv(device.ALLOCATOR, "")
    yield
    matmul.fp32_precision = before[0]
    torch.backends.cuda.enable_cudnn_sdp(before[1])


@pytest.mark.behaviour("tf32")
@pytest.mark.parametrize(("on", "precision"), [(True, "tf32"), (False, "ieee")])
def test_tf32(gpu, on, precision):
    choose_device(PretrainConfig(tf32=on))
    assert torch.backends.cuda.matmul.fp32_precision == precision


@pytest.mark.behaviour("use_expandable_segments")
def test_expandable_segments(gpu, monkeypatch):
    choose_device(PretrainConfig())
    assert os.environ[device.ALLOCATOR] == ""
    monkeypatch.setenv(
        device.ALLOCATOR, "max_split_size_mb:64,expandable_segments:False"
    )
    choose_device(PredictConfig(use_expandable_segments=True))
    assert (
        os.environ[device.ALLOCATOR] == "max_split_size_mb:64,expandable_segments:True"
    )
    monkeypatch.setattr(torch.cuda, "is_initialized", lambda: True)
    with pytest.raises(InputError, match="too late"):
        choose_device(PredictConfig(use_expandable_segments=True))


# --- attention ---


@pytest.fixture
def chosen(monkeypatch):
    """The kernels that `attend` allows, call by call."""
    calls = []
    real = attention.sdpa_kernel

    def spy(backends):
        calls.append(backends)
        return real(backends)

    monkeypatch.setattr(attention, "sdpa_kernel", spy)
    return calls


@pytest.mark.parametrize("implementation", ["sdpa", "flash", "math"])
@pytest.mark.parametrize("masked", [False, True])
def test_every_kernel_gives_the_formula(implementation, masked):
    torch.manual_seed(0)
    q, k, v = torch.randn(3, 2, 2, 5, 8)
    mask = (torch.arange(5) < torch.tensor([[3], [5]]))[:, None, None]
    scores = q @ k.mT / 8**0.5
    if masked:
        scores = scores.masked_fill(~mask, -torch.inf)
    found = attend(q, k, v, mask if masked else None, implementation)
    torch.testing.assert_close(found, scores.softmax(-1) @ v)


def test_which_kernels_may_be_used(chosen):
    q = torch.randn(1, 1, 4, 8)
    mask = torch.ones(1, 1, 1, 4, dtype=torch.bool)
    attend(q, q, q, None, "sdpa")
    assert chosen == []
    attend(q, q, q, None, "flash")
    attend(q, q, q, mask, "flash")
    attend(q, q, q, mask, "math")
    assert chosen == [[BACKENDS["flash"]], ANY, [BACKENDS["math"]]]
    assert torch.nn.attention.SDPBackend.CUDNN_ATTENTION not in ANY


def test_a_run_uses_its_kernel(chosen, tmp_path):
    made = generate.study(samples=12)
    sizes = {"embedding_dim": 16, "attention_heads": 2, "attention_layers": 1}
    config = PretrainConfig(
        **sizes,
        rarefy_depth=300,
        device="cpu",
        epochs=1,
        attn_implementation="math",
        gradient_checkpointing=True,
    )
    pretrain(
        config,
        tmp_path / "e",
        table=made.table,
        sequences=made.sequences,
        phylogeny=made.phylogeny,
        report=silent,
    )
    assert chosen
    assert all(backends == [BACKENDS["math"]] for backends in chosen)


def test_kernels_that_are_not_there():
    model = Model()
    with pytest.raises(InputError, match=r"mem_efficient is not available on this cpu"):
        set_attention(
            model, PretrainConfig(attn_implementation="mem_efficient"), CPU, print
        )
    flash = PretrainConfig(attn_implementation="flash")
    with pytest.raises(InputError, match="needs mixed_precision bf16 or fp16"):
        set_attention(model, flash, torch.device("cuda"), print)
    with pytest.raises(InputError, match="no effect on mps"):
        set_attention(model, flash, torch.device("mps"), print)
    assert model.layer.attn_implementation == "sdpa"


def test_flash_says_where_it_does_not_serve(monkeypatch):
    monkeypatch.setattr(attention, "why_not", lambda *arguments: None)
    lines, model = [], Model()
    options = PretrainConfig(attn_implementation="flash", mixed_precision="bf16")
    set_attention(model, options, torch.device("cuda"), lines.append)
    assert "has no masks" in lines[0]
    assert model.layer.attn_implementation == "flash"
    assert set_attention(model, PretrainConfig(), CPU, pytest.fail) is None
    assert model.layer.attn_implementation == "sdpa"


# --- compilation ---

COMPILED = """
import torch
from aam_core.config import MemoryOptions
from aam_core.nn.compilation import compile_layers
from aam_core.nn.transformer import Transformer

torch.manual_seed(0)
model = Transformer(8, 2, 2, 0.0)
names = list(model.state_dict())
def run(size):
    model.zero_grad()
    torch.manual_seed(size)
    y = model(torch.randn(size, 5, 8, requires_grad=True))
    y.square().sum().backward()
    return [y.detach()] + [p.grad.clone() for p in model.parameters()]
expected = [run(3), run(6), run(9), run(12)]
compile_layers(model, MemoryOptions(compile_model=True), torch.device("cpu"), print)
found = [run(3), run(6), run(9), run(12)]
for a, b in zip(sum(expected, []), sum(found, []), strict=True):
    torch.testing.assert_close(a, b, rtol=1e-4, atol=1e-4)
assert list(model.state_dict()) == names
from torch._dynamo.utils import counters
print(counters["stats"]["unique_graphs"])
"""


#: No processes that wait for work, and no programs that try what the CPU says it can.
SPARING = {"TORCHINDUCTOR_COMPILE_THREADS": "1", "TORCHINDUCTOR_VEC_ISA_OK": "1"}


@pytest.mark.behaviour("compile_model")
def test_a_compiled_model_computes_the_same():
    if not compilation.compiler():
        pytest.skip("there is no C++ compiler")
    done = subprocess.run(
        [sys.executable, "-c", COMPILED],
        env=os.environ | SPARING,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout == "1\n"  # shared by both layers and all sizes


def compiled(model):
    return [m for m in model.modules() if m._compiled_call_impl is not None]


def test_compilation_is_skipped_with_a_warning(monkeypatch):
    model, lines = Transformer(8, 2, 1, 0.0), []
    options = MemoryOptions(compile_model=True)
    monkeypatch.setattr(torch.version, "hip", "6.3")
    compile_layers(model, options, CPU, lines.append)
    assert "skipped" in lines[0]
    assert "ROCm" in lines[0]
    assert compiled(model) == []


def test_compilation_needs_a_compiler(monkeypatch):
    model = Transformer(8, 2, 1, 0.0)
    monkeypatch.setenv("CXX", "no-such-compiler")
    compile_layers(model, MemoryOptions(), CPU, pytest.fail)
    with pytest.raises(InputError, match="module load gcc"):
        compile_layers(model, MemoryOptions(compile_model=True), CPU, pytest.fail)
    assert compiled(model) == []
