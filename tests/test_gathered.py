"""A statistic of the global batch is the same in two processes as in one, and so is its gradient."""

import os
import subprocess
import sys
from pathlib import Path

import torch

SCRIPT = """
import sys
import torch
import torch.distributed as dist
from uncollapse.divergences import InverseMultiquadric, mmd
from uncollapse.noise import Rows, sharing
from uncollapse.processes import gathered

torch.set_default_dtype(torch.float64)
folder, rank, world = sys.argv[1], int(sys.argv[2]), 2
torch.manual_seed(0)
x, y = torch.randn(8, 3), torch.randn(2, 8, 2)
weight = torch.randn(2, 3, requires_grad=True)
rows = Rows(4 * rank, 4 * rank + 4, 8)
dist.init_process_group("gloo", init_method=f"file://{folder}/meeting", rank=rank, world_size=world)
with sharing(rows):
    z = gathered((x[rows.start : rows.stop] @ weight.T).expand(2, 4, 2), -2)
    value = mmd(z, y, InverseMultiquadric()).mean() + z[0].var(0).sum()
value.backward()
dist.all_reduce(weight.grad)
torch.save({"value": value.detach(), "gradient": weight.grad / world}, f"{folder}/{rank}.pt")
"""


def test_two_processes_see_the_whole_batch(tmp_path: Path) -> None:
    """MMD² and a variance over the batch: the value of each process and the mean of their gradients are those of one process,
    to 1e-12."""
    from uncollapse.divergences import InverseMultiquadric, mmd

    (tmp_path / "script.py").write_text(SCRIPT)
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    command = [sys.executable, str(tmp_path / "script.py"), str(tmp_path)]
    both = [subprocess.Popen([*command, rank], env=environment, stderr=subprocess.PIPE, text=True) for rank in ("0", "1")]
    errors = [process.communicate()[1] for process in both]
    assert all(process.returncode == 0 for process in both), errors
    torch.manual_seed(0)
    x, y = torch.randn(8, 3, dtype=torch.float64), torch.randn(2, 8, 2, dtype=torch.float64)
    weight = torch.randn(2, 3, dtype=torch.float64, requires_grad=True)
    z = (x @ weight.T).expand(2, 8, 2)
    value = mmd(z, y, InverseMultiquadric()).mean() + z[0].var(0).sum()
    (gradient,) = torch.autograd.grad(value, weight)
    for rank in (0, 1):
        found = torch.load(tmp_path / f"{rank}.pt", weights_only=True)
        torch.testing.assert_close(found["value"], value.detach(), rtol=1e-12, atol=1e-12)
        torch.testing.assert_close(found["gradient"], gradient, rtol=1e-12, atol=1e-12)
