"""A seeded case of each kind ends well; `python tests/fuzz --n N` tries as many as one likes."""

import subprocess
import sys
from pathlib import Path


def test_a_case_of_each_kind_ends_well() -> None:
    """Command lines, data files, run folders, benches and kills; in a process without threads, which each case forks."""
    fuzz = Path(__file__).parent / "fuzz"
    ended = subprocess.run([sys.executable, str(fuzz), "--n", "1", "--seed", "0"], capture_output=True, text=True)
    assert ended.returncode == 0 and ended.stdout.count(" 0 bad") == 5, ended.stdout + ended.stderr
