"""How many of so many seeded cases end well, and every one that does not."""

import argparse
import json
import os
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path

for name in ("OMP_NUM_THREADS", "MKL_NUM_THREADS"):
    os.environ[name] = "1"  # a process that has started threads cannot be forked
sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from fuzz import benches, command_lines, data_files, kills, run_folders, world  # noqa: E402

KINDS = {
    "command-lines": command_lines.cases,
    "data-files": data_files.cases,
    "run-folders": run_folders.cases,
    "benches": benches.cases,
    "kills": kills.cases,
}


def main() -> int:
    """0 where all cases end well."""
    parser = argparse.ArgumentParser(prog="python tests/fuzz", description=__doc__)
    parser.add_argument("kinds", nargs="*", metavar="KIND", help=", ".join(KINDS))
    parser.add_argument("--n", type=int, default=20, help="cases of each kind (default: %(default)s)")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--out", type=Path, help="a line of JSON a case")
    options = parser.parse_args()
    import uncollapse.cli.bench
    import uncollapse.cli.judge
    import uncollapse.cli.verbs  # noqa: F401

    bad = 0
    with tempfile.TemporaryDirectory() as place:
        made = world.built(Path(place) / "world")
        for kind in options.kinds or KINDS:
            bad += _hammered(kind, made, Path(place) / kind, options)
    return 1 if bad else 0


def _hammered(kind: str, made: Path, folder: Path, options: argparse.Namespace) -> int:
    """Run all cases of a kind; how many ended badly."""
    folder.mkdir()
    start, ends, bad = time.monotonic(), Counter[str](), 0
    for words, wrong, carried_out in KINDS[kind](made, folder, options.n, options.seed):
        ends["carried out" if carried_out else "refused"] += wrong is None
        if wrong is not None:
            bad += 1
            print(f"BAD {kind}: {words[:300]}\n    {wrong['why']}, status {wrong['status']}: {wrong['last']}", flush=True)
        if options.out:
            with options.out.open("a", encoding="utf-8") as out:
                print(json.dumps({"kind": kind, "case": words, "carried_out": carried_out, "wrong": wrong}), file=out)
    told = ", ".join(f"{n} {end}" for end, n in sorted(ends.items()))
    print(f"{kind}: {options.n} cases, {told}, {bad} bad, {time.monotonic() - start:.0f} s", flush=True)
    return bad


if __name__ == "__main__":
    sys.exit(main())
