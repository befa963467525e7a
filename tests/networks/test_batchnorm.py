"""Batch normalisation: torch's own in one process, the whole batch's in two, and what a broken batch leaves behind."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from torch import nn

from uncollapse.networks import BatchNorm

SCRIPT = """
import sys
import torch
import torch.distributed as dist
from uncollapse.networks import BatchNorm

torch.set_default_dtype(torch.float64)
folder, rank = sys.argv[1], int(sys.argv[2])
torch.manual_seed(0)
x, v, layer = torch.randn(8, 3, 4, 4, requires_grad=True), torch.randn(8, 3, 4, 4), BatchNorm(3)
with torch.no_grad():
    layer.weight.copy_(torch.tensor([1.0, 2.0, -0.5]))
dist.init_process_group("gloo", init_method=f"file://{folder}/meeting", rank=rank, world_size=2)
mine = slice(4 * rank, 4 * rank + 4)
y = layer(x[mine])
(y * v[mine]).sum().backward()
gradients = [x.grad, layer.weight.grad, layer.bias.grad]
for gradient in gradients:
    dist.all_reduce(gradient)
torch.save([y.detach(), *gradients, layer.running_mean, layer.running_variance], f"{folder}/{rank}.pt")
"""


@pytest.mark.parametrize("shape", [(20, 3), (6, 3, 4, 5)])
def test_it_is_that_of_torch(shape: tuple[int, ...], float64: None) -> None:
    """Values, gradients and running averages over three batches, then in evaluation."""
    ours, theirs = BatchNorm(3, momentum=0.05), (nn.BatchNorm1d if len(shape) == 2 else nn.BatchNorm2d)(3, momentum=0.05)
    for batch in (torch.randn(shape) * 3 + 1 for _ in range(3)):
        a, b = batch.clone().requires_grad_(), batch.clone().requires_grad_()
        torch.testing.assert_close(ours(a), theirs(b))
        ours(a).pow(3).sum().backward()
        theirs(b).pow(3).sum().backward()
        torch.testing.assert_close(a.grad, b.grad)
    torch.testing.assert_close(ours.running_mean, theirs.running_mean)
    torch.testing.assert_close(ours.running_variance, theirs.running_var)
    torch.testing.assert_close(ours.eval()(batch), theirs.eval()(batch))


def test_two_processes_see_the_whole_batch(tmp_path: Path) -> None:
    """Values, gradients and running averages are those of one process, to 1e-12."""
    (tmp_path / "script.py").write_text(SCRIPT)
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    command = [sys.executable, "-W", "error", str(tmp_path / "script.py"), str(tmp_path)]
    both = [subprocess.Popen([*command, rank], env=environment, stderr=subprocess.PIPE, text=True) for rank in ("0", "1")]
    errors = [process.communicate()[1] for process in both]
    assert all(process.returncode == 0 for process in both), errors
    torch.manual_seed(0)
    x, v = torch.randn(2, 8, 3, 4, 4, dtype=torch.float64)
    layer = BatchNorm(3).double()
    layer.weight.data.copy_(torch.tensor([1.0, 2.0, -0.5]))
    y = layer(x.requires_grad_())
    gradients = torch.autograd.grad((y * v).sum(), (x, layer.weight, layer.bias))
    expected = [*gradients, layer.running_mean, layer.running_variance]
    for rank in (0, 1):
        found = torch.load(tmp_path / f"{rank}.pt", weights_only=True)
        for value, other in zip(found, [y.detach()[4 * rank : 4 * rank + 4], *expected], strict=True):
            torch.testing.assert_close(value, other, rtol=1e-12, atol=1e-12)


def test_moments_over_processes_are_not_rounded_to_bf16(monkeypatch: pytest.MonkeyPatch) -> None:
    """What several processes compute of inputs in bf16 is in bf16 as torch's own is, by moments in float32, to 1e-6."""
    monkeypatch.setattr("torch.distributed.get_world_size", lambda: 1)
    monkeypatch.setattr("uncollapse.networks.batchnorm._mean", lambda moment: moment)
    x, one, other = (torch.randn(500, 2) + 30).bfloat16(), BatchNorm(2), BatchNorm(2)
    y = one._over_processes(x)
    assert y.dtype == other(x).dtype == torch.bfloat16
    torch.testing.assert_close(one.running_mean, other.running_mean, rtol=1e-6, atol=1e-6)
    torch.testing.assert_close(one.running_variance, other.running_variance, rtol=1e-6, atol=1e-6)


def test_a_batch_that_is_not_finite_leaves_no_trace() -> None:
    """The feature that was broken keeps its running averages, the others move."""
    layer, x = BatchNorm(2), torch.randn(10, 2) + 4
    x[3, 0] = torch.nan
    layer(x)
    assert layer.running_mean[0] == 0 and layer.running_variance[0] == 1 and layer.running_mean[1] > 0.3


def test_a_second_pass_leaves_the_first_one_its_gradient() -> None:
    """Two passes before one backward, as a critic has of data and of samples."""
    layer, x = BatchNorm(2), torch.randn(10, 2, requires_grad=True)
    first = layer(x).pow(3).sum()
    (expected,) = torch.autograd.grad(first, x, retain_graph=True)
    layer(torch.randn(10, 2))
    torch.testing.assert_close(torch.autograd.grad(first, x)[0], expected)


def test_a_momentum_that_forgets_nothing_is_refused() -> None:
    with pytest.raises(ValueError, match=r"expected a momentum in \(0, 1\], came 0; write 0.1"):
        BatchNorm(2, momentum=0)
