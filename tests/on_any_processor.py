"""Runs the tests as if on other processors, and prints which of them pass.

    .venv/bin/python tests/on_any_processor.py [--only sse] [--threads 1] [--unit] [ARGUMENTS OF PYTEST]

Each configuration runs with each number of threads: the processor as it is (`plain`), torch and its libraries held to SSE
(`sse`) or to AVX2 (`avx2`), and sums in another order (`rounding`, tests/rounding.py), which stands for the processors that
are not at hand.
"""

import argparse
import os
import subprocess
import sys
import time
from pathlib import Path

import torch

ROOT = Path(__file__).resolve().parents[1]

CONFIGURATIONS: dict[str, dict[str, str]] = {
    "plain": {},
    "sse": {"ATEN_CPU_CAPABILITY": "default", "ONEDNN_MAX_CPU_ISA": "SSE41", "MKL_ENABLE_INSTRUCTIONS": "SSE4_2"},
    "avx2": {"ATEN_CPU_CAPABILITY": "avx2"},
    "rounding": {"PYTEST_PLUGINS": "rounding"},
}

UNIT = [
    *("tests/test_noise.py", "tests/test_schedules.py", "tests/networks", "tests/distributions", "tests/divergences"),
    "src/uncollapse",
]
"""The numerics without a training: what `make test` runs on a second configuration."""


def passes(name: str, threads: int, arguments: list[str]) -> bool:
    """Whether the tests pass in one configuration; a line says so, and in what time."""
    workers = max((os.cpu_count() or 1) // threads, 1)
    paths = os.pathsep.join([str(ROOT / "tests"), *filter(None, [os.environ.get("PYTHONPATH")])])
    environment = {**os.environ, **CONFIGURATIONS[name], "OMP_NUM_THREADS": str(threads), "PYTHONPATH": paths}
    command = [sys.executable, "-m", "pytest", "-n", str(workers), "--timeout", "1800", *arguments]
    start = time.monotonic()
    done = subprocess.run(command, cwd=ROOT, env=environment, check=False)
    took, said = time.monotonic() - start, "passed" if done.returncode == 0 else "FAILED"
    print(f"{said}: {name}, {threads} thread{'s' * (threads > 1)}, {took:.0f} s", flush=True)
    return done.returncode == 0


def main() -> int:
    """0 where all configurations pass."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", action="append", choices=CONFIGURATIONS, help="a configuration, as often as wanted; else all")
    parser.add_argument("--threads", action="append", type=int, help="a number of threads, as often as wanted; else 1 and 2")
    parser.add_argument("--unit", action="store_true", help="the numerics alone, without a training")
    options, arguments = parser.parse_known_args()
    names, threads = options.only or list(CONFIGURATIONS), options.threads or [1, 2]
    if torch.backends.cpu.get_cpu_capability() == "DEFAULT" and "avx2" in names:
        print("not run: avx2, which this processor does not have")
        names = [name for name in names if name != "avx2"]
    outcomes = [passes(name, n, [*(UNIT if options.unit else []), *arguments]) for name in names for n in threads]
    return 0 if all(outcomes) else 1


if __name__ == "__main__":
    sys.exit(main())
