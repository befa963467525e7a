"""A pytest plugin: torch's arithmetic, rounded as another processor might round it.

`PYTHONPATH=tests python -m pytest -p rounding` runs tests and doctests on a processor that does not exist. Sums and matrix
products are added up in another order, which depends on their shapes. What no standard rounds (exponentials, logarithms,
norms, normal draws) is off by a unit in the last place. The same operation on the same numbers gives the same result, and sums
that are exact stay exact. The environment variable ROUNDING is the number of another such processor. Processes that a test
starts round as this machine does.
"""

import os
from collections.abc import Callable, Iterator, Sequence
from functools import lru_cache
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode

aten = torch.ops.aten
PROCESSOR = int(os.environ.get("ROUNDING", "1"))

NAMES = (
    "exp exp2 expm1 log log2 log10 log1p tanh sigmoid softplus gelu silu elu mish erf erfc erfinv lgamma digamma sin cos "
    "tan atan atan2 sinh cosh pow rsqrt logit log_sigmoid_forward _softmax _log_softmax cumsum cumprod "
    "logcumsumexp prod var std var_mean std_mean linalg_vector_norm norm _cdist_forward _euclidean_dist native_batch_norm "
    "_native_batch_norm_legit native_layer_norm native_group_norm addcmul addcdiv lerp binary_cross_entropy "
    "binary_cross_entropy_with_logits _linalg_svd _linalg_eigh linalg_cholesky_ex linalg_solve_triangular _linalg_solve_ex "
    "linalg_inv_ex _linalg_slogdet linalg_lu_factor_ex normal_ exponential_ _fft_r2c _fft_c2r dot mv _adaptive_avg_pool2d "
    "avg_pool2d upsample_bilinear2d _upsample_bilinear2d_aa upsample_bicubic2d convolution_backward "
    "native_batch_norm_backward native_layer_norm_backward _softmax_backward_data _log_softmax_backward_data"
)
NUDGED = frozenset(NAMES.split())
"""Operations whose last place no standard fixes, by their names in ATen; those that work in place too."""


class Rounding(TorchDispatchMode):
    """Within it, floating-point results on the CPU are rounded as by another processor.

    Args:
        processor: Which one.
    """

    def __init__(self, processor: int = PROCESSOR):
        super().__init__()
        self.processor = processor

    def __torch_dispatch__(self, func: Any, types: Any, args: Sequence[Any] = (), kwargs: dict[str, Any] | None = None) -> Any:
        name, kwargs = func.overloadpacket.__name__, kwargs or {}
        reorder = REORDERED.get(name)
        if reorder is not None and not kwargs.get("out") and _floating(args):
            return reorder(self.processor, func, *args, **kwargs)
        found = func(*args, **kwargs)
        if name == "_fused_adam_":
            for parameter in args[0]:
                _nudge_(parameter, self.processor)
        elif name in NUDGED or (name.endswith("_") and name[:-1] in NUDGED):
            for value in found if isinstance(found, tuple | list) else [found]:
                _nudge_(value, self.processor)
        return found


def _floating(args: Sequence[Any]) -> bool:
    return isinstance(args[0], Tensor) and args[0].dtype in (torch.float32, torch.float64) and args[0].device.type == "cpu"


@lru_cache(maxsize=256)
def _pattern(shape: torch.Size, dtype: torch.dtype, processor: int) -> Tensor:
    """1 - ε, 1 or 1 + ε at each place."""
    place = torch.arange(shape.numel()) + 1
    mixed = (place * 2654435761 + _mixed(processor, *shape)) % 4294967296
    return (1 + torch.finfo(dtype).eps * ((mixed >> 13) % 3 - 1).double()).to(dtype).reshape(shape)


def _mixed(*numbers: int) -> int:
    x = 0
    for number in numbers:
        x = (x * 6364136223846793005 + number + 1442695040888963407) % 2**31
    return x


def _nudge_(value: Any, processor: int) -> None:
    """Multiples of a half stay: exponentials of 0 are 1 on every processor, and what saturates stays saturated."""
    if not isinstance(value, Tensor) or value.dtype not in (torch.float32, torch.float64) or value.device.type != "cpu":
        return
    with torch.no_grad():
        twice = 2 * value
        moved = value * _pattern(value.shape, value.dtype, processor)
        value.copy_(torch.where(twice == twice.round(), value, moved))


def _split(processor: int, *sizes: int) -> int:
    """Where a sum of sizes[-1] terms is cut in two."""
    return 1 + _mixed(processor, *sizes) % (sizes[-1] - 1)


def _mm(processor: int, func: Any, a: Tensor, b: Tensor) -> Tensor:
    if a.shape[-1] < 2:
        return func(a, b)
    k = _split(processor, *b.shape, *a.shape)
    return func(a[..., :k], b[..., :k, :]) + func(a[..., k:], b[..., k:, :])


def _addmm(processor: int, func: Any, bias: Tensor, a: Tensor, b: Tensor, *, beta: float = 1, alpha: float = 1) -> Tensor:
    product = _mm(processor, aten.mm if a.dim() == 2 else aten.bmm, a, b)
    return beta * bias + alpha * product if beta else alpha * product


def _sum(processor: int, func: Any, x: Tensor, dim: Any = None, *args: Any, **kwargs: Any) -> Tensor:
    dims = range(x.dim()) if dim is None or dim == [] else [dim] if isinstance(dim, int) else dim
    given = () if func._overloadname == "default" else (dim,)
    return func(x.flip(list(dims)), *given, *args, **kwargs)


def _logsumexp(processor: int, func: Any, x: Tensor, dim: Any, keepdim: bool = False) -> Tensor:
    """The largest term stays as it is: its last place may be far larger than that of the rest."""
    most = x.amax(dim, keepdim=True)
    most = torch.where(most.isinf(), 0.0, most)
    rest = _sum(processor, aten.sum.dim_IntList, (x - most).exp(), dim, True).log()
    _nudge_(rest, processor)
    found = most + rest
    return found if keepdim else found.sum(dim)


def _convolution(processor: int, func: Any, x: Tensor, weight: Tensor, bias: Tensor | None, *args: Any) -> Tensor:
    """A float32 convolution from float64, a float64 one with its channels the other way round."""
    *_, transposed, _, groups = args
    if x.dtype == torch.float32:
        return func(x.double(), weight.double(), None if bias is None else bias.double(), *args).float()
    if groups == 1 and x.shape[1] > 1:
        return func(x.flip(1), weight.flip(0 if transposed else 1), bias, *args)
    return func(x, weight, bias, *args)


REORDERED: dict[str, Callable[..., Tensor]] = {
    "mm": _mm,
    "bmm": _mm,
    "addmm": _addmm,
    "baddbmm": _addmm,
    "sum": _sum,
    "mean": _sum,
    "logsumexp": _logsumexp,
    "convolution": _convolution,
}


@pytest.hookimpl(wrapper=True)
def pytest_runtest_call() -> Iterator[None]:
    """Fixtures that are kept for several tests round as this machine does."""
    with Rounding():
        return (yield)
