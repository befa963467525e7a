"""The one place where a loss becomes a step of the weights."""

import math
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from copy import copy
from typing import Any

import torch
from accelerate import Accelerator
from torch import Tensor, nn
from torch.optim import Adam, Optimizer

from uncollapse.schedules import Schedule
from uncollapse.tensor_files import check_state
from uncollapse.training.complaints import optimizer_complaint
from uncollapse.training.settings import Training

OptimizerFactory = Callable[[Iterable[nn.Parameter]], Optimizer]


def default_optimizer(parameters: Iterable[nn.Parameter]) -> Optimizer:
    """Adam with its usual learning rate, 1e-3."""
    return Adam(parameters, lr=1e-3)


class Update:
    """Backward, the reduction over processes, the guard against NaN, clipping, the optimiser's step and the weights' average.

    A gradient or loss that is not finite never reaches the weights: a flag on the device makes the fused optimiser skip the
    step, and is counted there, so that nothing is waited for. `skipped` is read when the log is.

    Args:
        parameters: What it moves.
        optimizer: Factory of the optimiser, one that has a fused form.
        training: The schedule of the learning rate, clipping and averaging.
        accelerator: Does backward, in whatever precision and over however many processes.
        rate: Factor of the optimiser's learning rate.
    """

    def __init__(
        self,
        parameters: Iterable[nn.Parameter],
        optimizer: OptimizerFactory,
        training: Training,
        accelerator: Accelerator,
        rate: float = 1.0,
    ):
        self.parameters = list(parameters)
        self.optimizer = made(optimizer, self.parameters)
        self.accelerator, self.clip, self.ema = accelerator, training.clip, training.ema
        self.schedule: Schedule = training.schedule
        self.rates = [rate * float(group["lr"]) for group in self.optimizer.param_groups]
        self.average = [p.detach().clone() for p in self.parameters] if self.ema else []
        device = self.parameters[0].device
        self.skipped, self.norm = torch.zeros((), device=device), torch.zeros((), device=device)
        self.decay = self.ema
        self.one, self.measuring = torch.ones((), dtype=torch.float32, device=device), False

    @property
    def rate(self) -> float:
        """The learning rate of the last step."""
        return float(self.optimizer.param_groups[0]["lr"])

    def at(self, step: int, measuring: bool = False) -> None:
        """Set the learning rate of this step, and whether to measure its gradient's norm for the log."""
        self.measuring = measuring
        factor = float(self.schedule(step))
        self.decay = min(self.ema, (1 + step) / (10 + step))  # so that the start is forgotten as soon as it is far away
        for group, rate in zip(self.optimizer.param_groups, self.rates, strict=True):
            group["lr"] = rate * factor

    def __call__(self, loss: Tensor) -> None:
        bad = (
            (loss.detach() * 0).ne(0).to(torch.float32)
        )  # NaN and infinities times 0 are NaN; isfinite takes ten times as long
        if self.accelerator.num_processes > 1:  # every process's gradient is NaN then, so that all skip the step
            loss = loss * torch.where(bad > 0, torch.nan, 1.0)
        self.accelerator.backward(loss)
        gradients = [p.grad for p in self.parameters if p.grad is not None]
        torch._amp_foreach_non_finite_check_and_unscale_(gradients, bad, self.one)  # the check of torch's own GradScaler
        self.skipped += bad
        if self.clip is not None or self.measuring:
            self.norm = torch.nn.utils.get_total_norm(gradients)
        if self.clip is not None:
            torch.nn.utils.clip_grads_with_norm_(self.parameters, self.clip, self.norm)
        self.optimizer.found_inf = bad  # type: ignore[attr-defined]
        self.optimizer.step()
        if self.average:  # of the weights that this loss moved: a procedure may move some of them more often than others
            moved = [(a, p.detach()) for a, p in zip(self.average, self.parameters, strict=True) if p.grad is not None]
            torch._foreach_lerp_([a for a, _ in moved], [p for _, p in moved], 1 - self.decay)
        self.optimizer.zero_grad()

    @contextmanager
    def averaged(self) -> Iterator[None]:
        """Within it, the weights are their average."""
        self._swap()
        try:
            yield
        finally:
            self._swap()

    def _swap(self) -> None:
        for p, average in zip(self.parameters, self.average, strict=False):
            p.data, average.data = average.data, p.data

    def state(self) -> dict[str, Tensor]:
        """All that a resumed training needs, by name."""
        named = {f"average.{i}": a for i, a in enumerate(self.average)}
        for i, p in enumerate(self.parameters):
            named |= {f"optimizer.{i}.{key}": value for key, value in self.optimizer.state[p].items()}
        return named

    def restore(self, state: dict[str, Tensor]) -> None:
        """Take over what `state` gave.

        Raises:
            ValueError: If a value has another shape or type than this optimiser's, which would read beyond its end.
        """
        averages = {f"average.{i}": average for i, average in enumerate(self.average)}
        check_state({name: value for name, value in state.items() if name.startswith("average.")}, averages)
        for name, average in averages.items():
            average.copy_(state[name])
        for i, p in enumerate(self.parameters):
            prefix = f"optimizer.{i}."
            values = {key: value for key, value in state.items() if key.startswith(prefix)}
            if values:  # a weight that no loss has moved yet has none
                check_state(values, {f"{prefix}{key}": value for key, value in _state_of(self.optimizer, p).items()})
            self.optimizer.state[p] = {key.removeprefix(prefix): value.to(p.device) for key, value in values.items()}


def _state_of(optimizer: Optimizer, p: Tensor) -> dict[str, Tensor]:
    """The state that this optimiser has of such a parameter after a step, whose values do not matter."""
    if optimizer.state.get(p):  # of one that begins with it
        return dict(optimizer.state[p])
    like = torch.zeros_like(p, requires_grad=True)
    like.grad = torch.zeros_like(like)
    group = next(group for group in optimizer.param_groups if any(q is p for q in group["params"]))
    alone = copy(optimizer)
    alone.param_groups, alone.state = [{**group, "params": [like]}], defaultdict(dict)
    alone.step()
    return {key: value for key, value in alone.state[like].items() if isinstance(value, Tensor)}


LEAST = 1e-12
"""The smallest learning rate: a hundred thousand steps of Adam at it move a weight of 1 by less than float32 resolves."""


def made(optimizer: OptimizerFactory, parameters: Iterable[nn.Parameter]) -> Optimizer:
    """The optimiser of these parameters, in its fused form.

    Raises:
        ValueError: If it has none, or one of its numbers is out of range.
    """
    try:
        found = fused(optimizer(parameters))
    except ValueError as error:
        raise ValueError(optimizer_complaint(str(error))) from error
    check_rates(found)
    return found


def check_rates(optimizer: Optimizer) -> None:
    """Refuse an optimiser that moves nothing, or whose decay alone throws the weights further than they were.

    Raises:
        ValueError: If a learning rate is not above 0, the loss is to be maximised, or a weight decay is negative or times the
            rate above 1.

    Example:
        >>> check_rates(torch.optim.SGD([nn.Parameter(torch.zeros(2))], lr=0.0))
        Traceback (most recent call last):
        ValueError: expected --optimizer.lr above 0, got 0.0: it would move nothing
    """
    for group in optimizer.param_groups:
        rate, decay = float(group["lr"]), float(group.get("weight_decay", 0.0))
        if not LEAST <= rate < math.inf:
            least = "above 0" if rate <= 0 else f"of at least {LEAST:g}"
            raise ValueError(f"expected --optimizer.lr {least}, got {rate}: it would move nothing")
        if group.get("maximize"):
            raise ValueError("expected --optimizer.maximize false, got true: what is stepped down is the loss, minus the bound")
        if not 0 <= decay * rate <= 1:
            raise ValueError(
                f"expected --optimizer.weight_decay from 0 to {1 / rate:g}, one by the learning rate, got {decay:g}: "
                "it would throw the weights beyond 0"
            )


def fused(optimizer: Optimizer) -> Optimizer:
    """The same optimiser with its fused kernels on.

    Raises:
        ValueError: If it has none.

    Each group of parameters keeps its own settings.

    Example:
        >>> fused(torch.optim.Adam([nn.Parameter(torch.zeros(2))])).defaults["fused"]
        True
    """
    if "fused" not in optimizer.defaults:
        raise ValueError(
            f"expected an optimiser with a fused form, which can skip a step without waiting for the device, came "
            f"{type(optimizer).__name__}; write Adam, AdamW, SGD or Adagrad"
        )
    dropped = {"fused", "foreach", "differentiable"}
    if isinstance(optimizer, torch.optim.AdamW):
        dropped.add("decoupled_weight_decay")
    settings = {k: v for k, v in optimizer.defaults.items() if k not in dropped}
    groups = [{k: v for k, v in group.items() if k not in dropped} for group in optimizer.param_groups]
    kind: Any = type(optimizer)
    return kind(groups, **settings, fused=True)
