"""uncollapse: train, diagnose, cure and evaluate deep generative models.

The names below are imported when they are first used, so that ``import uncollapse`` is quick.

Example:
    >>> import uncollapse as uc
    >>> uc.schedules.Linear(0.0, 1.0, steps=10)(5)
    tensor(0.5000)
"""

import importlib
from typing import Any

__version__ = "0.1.0"

_HOME = {
    "fit": "uncollapse.training",
    "load": "uncollapse.training",
    "Stage": "uncollapse.training",
    "Training": "uncollapse.training",
    "Machine": "uncollapse.training",
    "Recipe": "uncollapse.training",
    "Estimator": "uncollapse.training",
    "evaluate": "uncollapse.evaluation",
    "judge": "uncollapse.evaluation",
    "log_likelihood": "uncollapse.evaluation",
    "diagnose": "uncollapse.diagnosis",
    "VAE": "uncollapse.vae",
    "ImplicitModel": "uncollapse.gan",
}
_ROOMS = (
    "data",
    "diagnosis",
    "distributions",
    "divergences",
    "evaluation",
    "gan",
    "learning",
    "networks",
    "noise",
    "parts",
    "report",
    "schedules",
    "training",
    "vae",
)

__all__ = ["__version__", *_HOME, *_ROOMS]


def __getattr__(name: str) -> Any:
    if name in _HOME:
        return getattr(importlib.import_module(_HOME[name]), name)
    if name in _ROOMS:
        return importlib.import_module(f"uncollapse.{name}")
    raise AttributeError(f"module 'uncollapse' has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted(__all__)
