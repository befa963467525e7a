"""Changes of one place that the tests should notice: which of them they do, in a table.

    .venv/bin/python tests/mutations.py src/uncollapse/divergences/kl.py --tests tests/divergences tests/laws/test_mmd.py
        [--n 20] [--seed 0] [--jobs 1] [--timeout 600] [--list]

Each change is made in a copy of the project, never in the working tree. The tests that are named, and the doctests of the
changed file, run there in a process of their own, which stops at the first failure. Changes are drawn by the seed, one of each
kind before a second of any. Where one survives, a test is missing or the change has no effect: that is for the reader to tell.
"""

import argparse
import ast
import os
import random
import shutil
import subprocess
import sys
import tempfile
from collections import Counter
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from itertools import accumulate, chain, zip_longest
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
LEFT_OUT = shutil.ignore_patterns(".*", "__pycache__", "runs", "results", "dist", "build")

RUN = """
import sys
from importlib import import_module
from pathlib import Path
import pytest
package, copy, *arguments = sys.argv[1:]
found = import_module(package).__file__
if not Path(found).resolve().is_relative_to(copy):
    print(f"expected {package} to be imported from the copy {copy}, got {found}")
    sys.exit(70)
sys.exit(pytest.main(arguments))
"""

NOT_RUN = (4, 5, 70)  # usage, no tests, another package than the copy

COMPARED = {
    ast.Lt: (ast.LtE, ast.GtE),
    ast.LtE: (ast.Lt, ast.Gt),
    ast.Gt: (ast.GtE, ast.LtE),
    ast.GtE: (ast.Gt, ast.Lt),
    ast.Eq: (ast.NotEq,),
    ast.NotEq: (ast.Eq,),
    ast.Is: (ast.IsNot,),
    ast.IsNot: (ast.Is,),
    ast.In: (ast.NotIn,),
    ast.NotIn: (ast.In,),
}
COMPUTED = {ast.Add: ast.Sub, ast.Sub: ast.Add, ast.Mult: ast.Div, ast.Div: ast.Mult, ast.Pow: ast.Mult, ast.FloorDiv: ast.Mult}
PAIRS = (
    "min max, amin amax, argmin argmax, minimum maximum, mean sum, any all, zeros ones, zeros_like ones_like, cumsum cumprod"
)
RENAMED = {a: b for pair in PAIRS.split(", ") for a, b in (pair.split(), pair.split()[::-1])}
DROPPED = {
    "detach",
    "abs",
    "square",
    "sqrt",
    "exp",
    "log",
    "clamp",
    "clamp_min",
    "clamp_max",
    "double",
    "float",
    "flatten",
    "neg",
}
DECORATORS = {"no_grad", "inference_mode"}


@dataclass(frozen=True)
class Change:
    """One place of one file, and what stands there instead.

    Args:
        file: Relative to the project's root.
        kind: What is changed: comparison, arithmetic, constant, …
        line: Where it begins, from 1.
        column: In the line, from 1.
        start: First byte of the file that is replaced.
        stop: The byte after the last.
        before: What is replaced.
        after: What replaces it.
    """

    file: Path
    kind: str
    line: int
    column: int
    start: int
    stop: int
    before: str
    after: str

    def __str__(self) -> str:
        return f"{self.file}:{self.line}:{self.column}  {_short(self.before)}  →  {_short(self.after)}"

    def applied(self, source: bytes) -> bytes:
        """The file with the change."""
        return source[: self.start] + self.after.encode() + source[self.stop :]


@dataclass(frozen=True)
class Outcome:
    """What the tests said to a change: `killed`, `survived`, or `timeout`, and by which test."""

    word: str
    by: str = ""


def _short(code: str, most: int = 60) -> str:
    line = " ".join(code.split())
    return line if len(line) <= most else line[: most - 1] + "…"


def changes(source: str, file: Path = Path("module.py")) -> list[Change]:
    """Every change of one place that leaves a file valid Python and another program, in order."""
    tree, encoded = ast.parse(source), source.encode()
    starts = [0, *accumulate(len(line) for line in encoded.splitlines(keepends=True))]
    found = set()
    for node in _code(tree):
        for kind, place, after in _alternatives(node):
            start, stop = starts[place.lineno - 1] + place.col_offset, starts[place.end_lineno - 1] + place.end_col_offset
            change = Change(file, kind, place.lineno, place.col_offset + 1, start, stop, encoded[start:stop].decode(), after)
            if _is_another_program(change.applied(encoded), tree):
                found.add(change)
    return sorted(found, key=lambda change: (change.start, change.stop, change.kind, change.after))


def _is_another_program(changed: bytes, tree: ast.AST) -> bool:
    try:
        return ast.dump(ast.parse(changed)) != ast.dump(tree)
    except SyntaxError:
        return False


def _code(node: ast.AST) -> Iterator[Any]:
    """Statements and expressions that compute: no annotations, docstrings, f-strings, or messages of errors."""
    for name, value in ast.iter_fields(node):
        for child in value if isinstance(value, list) else [value]:
            if not isinstance(child, ast.AST) or name in ("annotation", "returns") or isinstance(child, ast.JoinedStr):
                continue
            if isinstance(child, ast.Expr) and isinstance(child.value, ast.Constant):
                continue
            yield child
            if not isinstance(child, ast.Raise):
                yield from _code(child)


def _alternatives(node: Any) -> Iterator[tuple[str, Any, str]]:
    """(kind, place, code): what is changed, the node that is replaced, and by what."""
    match node:
        case ast.Compare():
            for i, found in enumerate(node.ops):
                for other in COMPARED[type(found)]:
                    yield "comparison", node, _written(node, ops=[*node.ops[:i], other(), *node.ops[i + 1 :]])
        case ast.BinOp() if type(node.op) in COMPUTED and not {_is_text(node.left), _is_text(node.right)} & {True}:
            yield "arithmetic", node, _written(node, op=COMPUTED[type(node.op)]())
        case ast.BoolOp():
            yield "logic", node, _written(node, op=ast.Or() if isinstance(node.op, ast.And) else ast.And())
        case ast.UnaryOp(op=ast.Not()):
            yield "logic", node, _written(node.operand)
        case ast.UnaryOp(op=ast.USub()):
            yield "arithmetic", node, _written(node.operand)
        case ast.Constant(value=bool()):
            yield "constant", node, repr(not node.value)
        case ast.Constant(value=int()):
            yield "constant", node, repr(node.value + 1)
        case ast.Constant(value=float()):
            yield "constant", node, repr(2 * node.value or 1.0)
        case ast.If(orelse=[]) | ast.Raise() | ast.AugAssign() | ast.Expr(value=ast.Call()):
            yield "statement", node, "pass"
        case ast.With():
            for item in node.items:
                if item.optional_vars is None:
                    yield "context", item.context_expr, "__import__('contextlib').nullcontext()"
        case ast.FunctionDef():
            for decorator in node.decorator_list:
                if _name(decorator) in DECORATORS:
                    yield "context", decorator, "(lambda function: function)"
        case ast.Call():
            yield from _calls(node)


def _calls(node: ast.Call) -> Iterator[tuple[str, Any, str]]:
    """Without one keyword argument, by a function of the same signature, or without the method."""
    for i, keyword in enumerate(node.keywords):
        if keyword.arg is not None:
            yield "keyword", node, _written(node, keywords=[*node.keywords[:i], *node.keywords[i + 1 :]])
    name, of = _name(node), getattr(node.func, "value", None)
    if name in RENAMED and (of is not None or name != "sum"):
        func = ast.Name(RENAMED[name]) if of is None else ast.Attribute(of, RENAMED[name])
        yield "function", node, _written(node, func=func)
    if name in DROPPED and of is not None and _name(of) != "torch":
        yield "method", node, _written(of)


def _name(node: Any) -> str:
    """Of a function that is called or referred to, without the module."""
    called = node.func if isinstance(node, ast.Call) else node
    return getattr(called, "attr", getattr(called, "id", ""))


def _is_text(node: ast.AST) -> bool:
    return isinstance(node, ast.JoinedStr) or (isinstance(node, ast.Constant) and isinstance(node.value, str))


def _written(node: Any, **fields: Any) -> str:
    """The code of a node in which some fields are others, in brackets where an operator beside it could take a part."""
    other = type(node)(**{**dict(ast.iter_fields(node)), **fields})
    code = ast.unparse(ast.fix_missing_locations(other))
    return code if isinstance(other, ast.Name | ast.Attribute | ast.Call | ast.Subscript) else f"({code})"


def drawn(found: Sequence[Change], n: int, seed: int) -> list[Change]:
    """n of the changes, at random but for this: one of each kind is drawn before a second of any, for there are few of some."""
    kinds: dict[str, list[Change]] = {}
    for change in found:
        kinds.setdefault(change.kind, []).append(change)
    rng = random.Random(seed)
    for of_kind in kinds.values():
        rng.shuffle(of_kind)
    rounds = chain.from_iterable(zip_longest(*kinds.values()))
    return [change for change in rounds if change is not None][:n]


def tested(change: Change | None, tests: Sequence[str], root: Path, package: str, timeout: float) -> Outcome:
    """What the tests say to a copy of the project with a change, or without one.

    Args:
        change: None for the project as it is.
        tests: Files and folders, relative to the root, or other arguments of pytest's.
        root: The project, with the package in `src`; nothing is written there.
        package: Its name; nothing is run where another than the copy is imported.
        timeout: In seconds.

    Raises:
        RuntimeError: If pytest runs no tests.
    """
    with tempfile.TemporaryDirectory() as folder:
        copy = Path(folder).resolve() / root.name
        shutil.copytree(root, copy, ignore=LEFT_OUT)
        if change is not None:
            (copy / change.file).write_bytes(change.applied((copy / change.file).read_bytes()))
        arguments = [package, str(copy), "-x", "-rfE", "--tb=no", "-p", "no:cacheprovider", "--doctest-modules", *tests]
        path = os.pathsep.join(map(str, (copy / "src", copy)))
        environment = {"OMP_NUM_THREADS": "1", **os.environ, "PYTHONPATH": path}
        command = [sys.executable, "-c", RUN, *arguments]
        try:
            ran = subprocess.run(command, cwd=copy, env=environment, capture_output=True, text=True, timeout=timeout)
        except subprocess.TimeoutExpired:
            return Outcome("timeout")
    if ran.returncode in NOT_RUN or (change is None and ran.returncode):
        raise RuntimeError(f"expected tests that run, and pass without a change, got\n{ran.stdout}{ran.stderr}")
    by = [line.split(" - ")[0].split(" ", 1)[1] for line in ran.stdout.splitlines() if line.startswith(("FAILED ", "ERROR "))]
    return Outcome("killed", (by or ["the import"])[0]) if ran.returncode else Outcome("survived")


def main(arguments: Sequence[str] | None = None, root: Path = ROOT, package: str = "uncollapse") -> Counter[str]:
    """Prints the table; how many changes were killed, how many survived, how many ran out of time."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("sources", nargs="+", type=Path, help="files to change")
    parser.add_argument("--tests", nargs="*", default=[], help="tests that should notice, beside the doctests of the file")
    parser.add_argument("--n", type=int, default=20, help="how many changes")
    parser.add_argument("--seed", type=int, default=0, help="of the draw of changes")
    parser.add_argument("--jobs", type=int, default=1, help="how many run at a time")
    parser.add_argument("--timeout", type=float, default=600.0, help="seconds for the tests of one change")
    parser.add_argument("--list", action="store_true", help="the changes alone; run nothing")
    options = parser.parse_args(arguments)
    files = [source.resolve().relative_to(root.resolve()) for source in options.sources]
    chosen = drawn([change for file in files for change in changes((root / file).read_text(), file)], options.n, options.seed)
    if options.list:
        print(*chosen, sep="\n")
        return Counter()
    tested(None, [*options.tests, *map(str, files)], root, package, options.timeout)

    def outcome(change: Change) -> Outcome:
        return tested(change, [str(change.file), *options.tests], root, package, options.timeout)

    counts: Counter[str] = Counter()
    with ThreadPoolExecutor(options.jobs) as pool:
        for change, found in zip(chosen, pool.map(outcome, chosen), strict=True):
            counts[found.word] += 1
            print(f"{found.word:9} {change}  {found.by}", flush=True)
    print(", ".join(f"{counts[word]} {word}" for word in ("killed", "survived", "timeout")), f"of {len(chosen)}")
    return counts


if __name__ == "__main__":
    main()
