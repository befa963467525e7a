"""Two processes with half the batch each give what one gives."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

SCRIPT = """
import sys
import torch
torch.set_default_dtype(torch.float64)
torch.set_num_threads(1)
from pathlib import Path
from tests.training.conftest import small_vae
from uncollapse.data import load
from uncollapse.training import Machine, Training, fit
from uncollapse.vae import ELBO, Amortized
from functools import partial
from torch import Size
from uncollapse.distributions import Normal, OptimalSigma, likelihoods, posteriors
from uncollapse.networks import MLP
from uncollapse.vae import VAE
network = partial(MLP, hidden=[16])
shape = Size((1, 8, 8))
objectives = {
    "binary": lambda: ELBO(small_vae(), k=3),
    "statistics": lambda: ELBO(  # of the batch: its RMSE, and the mean divergence of each unit
        VAE(Normal(3), likelihoods.Gaussian(3, shape, network, OptimalSigma), posteriors.Gaussian(3, shape, network)),
        free_bits=0.5,
    ),
}
torch.manual_seed(0)
training = Training(steps=40, batch_size=50, log_every=10, validate_every=20, ema=0.9, clip=5.0)
data = load("digits", binarize="dynamic" if sys.argv[2] == "binary" else "none")
fit(Amortized(objectives[sys.argv[2]]()), data, training, machine=Machine(device="cpu"), out=Path(sys.argv[1]))
"""


@pytest.mark.parametrize("objective", ["binary", "statistics"])
def test_two_processes_give_what_one_gives(objective: str, tmp_path: Path) -> None:
    """The same parameters within 1e-6 in float64: binarisation, noise and order of rows all follow from (seed, step, row), and
    statistics of the batch are of all its rows."""
    script = tmp_path / "script.py"
    script.write_text(SCRIPT)
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": str(Path(__file__).parents[2])}
    one = [sys.executable, str(script), str(tmp_path / "one"), objective]
    two = [
        *(sys.executable, "-m", "accelerate.commands.launch", "--cpu", "--num_processes", "2", "--num_machines", "1"),
        *("--mixed_precision", "no", "--dynamo_backend", "no", "--main_process_port", "0", str(script), str(tmp_path / "two")),
        objective,
    ]
    for command in (one, two):
        done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr[-3000:]
    a, b = (load_file(tmp_path / name / "checkpoints/last/model.safetensors") for name in ("one", "two"))
    assert max(float((a[key] - b[key]).abs().max()) for key in a) < 1e-6
    assert a[next(iter(a))].dtype == torch.float64
