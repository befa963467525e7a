"""Two processes with half the batch each give what one gives."""

import json
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
from uncollapse.distributions import Generator, Normal, OptimalSigma, likelihoods, posteriors
from uncollapse.networks import MLP
from uncollapse.vae import VAE
from uncollapse.divergences import R1, Critic
from uncollapse.gan import GAN, ImplicitModel
from uncollapse.learning import OptimalCritic
from uncollapse.networks import BatchNormMLP
network = partial(MLP, hidden=[16])
shape = Size((1, 8, 8))
procedures = {
    "binary": lambda: Amortized(ELBO(small_vae(), k=3)),
    "statistics": lambda: Amortized(ELBO(  # of the batch: its RMSE, and the mean divergence of each unit
        VAE(Normal(3), likelihoods.Gaussian(3, shape, network, OptimalSigma), posteriors.Gaussian(3, shape, network)),
        free_bits=0.5,
    )),
    "game": lambda: OptimalCritic(  # each process takes as many steps of the critic as the other
        GAN(
            ImplicitModel(Normal(3), Generator(3, shape, partial(BatchNormMLP, hidden=[16]))),
            partial(Critic, network=partial(BatchNormMLP, hidden=[16]), noise=0.1, pack=5),
            penalties=[R1(0.1)],
        ),
        tolerance=0.02, window=2, most=8,
    ),
}
torch.manual_seed(0)
training = Training(steps=40, batch_size=50, log_every=10, validate_every=20, ema=0.9, clip=5.0)
data = load("digits", binarize="dynamic" if sys.argv[2] == "binary" else "none")
fit(procedures[sys.argv[2]](), data, training, machine=Machine(device="cpu"), out=Path(sys.argv[1]))
"""


@pytest.mark.parametrize("procedure", ["binary", "statistics", "game"])
def test_two_processes_give_what_one_gives(procedure: str, tmp_path: Path) -> None:
    """The same parameters within 1e-6 in float64: binarisation, noise and order of rows all follow from (seed, step, row), and
    statistics of the batch are of all its rows; of a game too, its critic, averages and number of the critic's steps."""
    script = tmp_path / "script.py"
    script.write_text(SCRIPT)
    paths = os.pathsep.join([str(Path(__file__).parents[2]), os.environ.get("PYTHONPATH", "")])
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": paths}
    one = [sys.executable, str(script), str(tmp_path / "one"), procedure]
    two = [
        *(sys.executable, "-m", "accelerate.commands.launch", "--cpu", "--num_processes", "2", "--num_machines", "1"),
        *("--mixed_precision", "no", "--dynamo_backend", "no", "--main_process_port", "0", str(script), str(tmp_path / "two")),
        procedure,
    ]
    for command in (one, two):
        done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr[-3000:]
    for part in ("last/model", "last/state", "best/model"):
        a, b = (load_file(tmp_path / name / f"checkpoints/{part}.safetensors") for name in ("one", "two"))
        assert a.keys() == b.keys() and max(float((a[key] - b[key]).abs().max()) for key in a) < 1e-6
        assert part == "last/state" or a[next(iter(a))].dtype == torch.float64
    lines = [(tmp_path / name / "metrics.jsonl").read_text().splitlines() for name in ("one", "two")]
    one, two = ([json.loads(line).get("critic_steps") for line in of] for of in lines)
    assert one == two and (procedure != "game" or 2.0 < min(filter(None, one)) < max(filter(None, one)) < 8.0), one
