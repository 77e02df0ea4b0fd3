import pytest
import torch
from click.testing import CliRunner
from torch.nn.attention import SDPBackend

from aam_core import diagnose

CPU = torch.device("cpu")
SHAPE = (2, 2, 6, 8)
SIZES = ["--device", "cpu", "--batch", "2", "--heads", "2", "--length", "6"]


@pytest.mark.parametrize("mask", diagnose.MASKS)
def test_the_reference_is_the_formula(mask):
    qkv, bias = diagnose.inputs_of(mask, SHAPE, CPU)
    out, *_ = diagnose.attention(SDPBackend.MATH, qkv, bias, torch.float32)
    q, k, v = qkv
    scores = q @ k.mT / 8**0.5
    if mask == "padding":
        scores = scores.masked_fill(~bias, -torch.inf)
    elif mask == "bias":
        scores = scores + bias
    torch.testing.assert_close(out, scores.softmax(-1) @ v)


def test_math_differs_from_itself_by_rounding_alone():
    exact = diagnose.compare("math", "fp32", "bias", SHAPE, CPU)
    assert (exact.verdict, exact.forward, exact.backward) == ("ok", 0, 0)
    rounded = diagnose.compare("math", "bf16", "bias", SHAPE, CPU)
    assert rounded.verdict == "ok"
    assert 1e-5 < rounded.forward < 5e-2
    assert rounded.milliseconds > 0


def test_what_the_machine_lacks_is_skipped():
    result = diagnose.compare("mem_efficient", "fp32", "none", SHAPE, CPU)
    assert result.verdict.startswith("skipped: ")
    assert not result.failed


@pytest.mark.parametrize(
    ("harm", "verdict"), [(torch.nan, "NaN"), (torch.inf, "NaN"), (1.1, "wrong")]
)
@pytest.mark.parametrize("place", [0, 2], ids=["output", "gradient"])
def test_a_bad_kernel_is_found(monkeypatch, harm, verdict, place):
    right = diagnose.attention

    def bad(kernel, *arguments):
        found = right(SDPBackend.MATH, *arguments)
        if kernel is SDPBackend.CUDNN_ATTENTION:
            found[place] = found[place] * harm
        return found

    monkeypatch.setattr(diagnose, "attention", bad)
    result = diagnose.compare("cudnn", "fp32", "padding", SHAPE, CPU)
    assert result.verdict == verdict
    done = CliRunner().invoke(diagnose.main, SIZES)
    assert done.exit_code == 1
    assert f"Do not use cudnn in fp32 with mask padding: {verdict}" in done.output


def test_the_table():
    done = CliRunner().invoke(diagnose.main, SIZES)
    assert done.exit_code == 0, done.output
    head, columns, *rows = done.output.splitlines()
    assert torch.__version__ in head
    assert columns.split() == ["kernel", "dtype", "mask", "forward", "backward", "ms"]
    assert len(rows) == 4 * 3 * 3
    assert any(row.split()[:3] == ["flash", "fp32", "padding"] for row in rows)
    assert all(row.split()[-1] == "ok" or "skipped" in row for row in rows)


def test_a_gpu_that_is_not_there(monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    done = CliRunner().invoke(diagnose.main, ["--device", "cuda"])
    assert done.exit_code == 1
    assert "no GPU" in done.output
