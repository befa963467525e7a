"""What a training is told: how long, how fast, how careful, and on which machine."""

from typing import Literal

from uncollapse.parts import Part
from uncollapse.schedules import ENDS, Constant, Schedule, nonnegative

LEAST = 1e-12
"""The smallest norm that a gradient is scaled down to."""


class Training(Part):
    """How a procedure is run.

    Args:
        steps: Updates in all.
        batch_size: Observations in a batch, over all processes together.
        seed: Everything random follows from (seed, stage, step, row).
        schedule: Factor of the optimiser's learning rate, as a function of the step.
        clip: Largest norm of the gradient; larger ones are scaled down to it. None: no clipping.
        ema: Decay of the average of the weights that is validated and kept as `best`, with running statistics of its
            own; at step t it is (1 + t) / (10 + t) at most. 0: the weights themselves.
        log_every: Steps between two lines of the log, where the device is waited for.
        validate_every: Steps between two looks at the validation data; a checkpoint follows each.
        validate_on: How many validation observations are looked at, drawn at random and always the same ones; None: all.
        patience: Looks without a better bound after which the training stops; None: never.

    Raises:
        ValueError: If a number is out of range.

    Example:
        >>> Training(steps=100).batch_size
        100
    """

    def __init__(
        self,
        steps: int = 5000,
        batch_size: int = 100,
        seed: int = 0,
        schedule: Schedule = Constant(1.0),
        clip: float | None = None,
        ema: float = 0.0,
        log_every: int = 50,
        validate_every: int = 500,
        validate_on: int | None = None,
        patience: int | None = None,
    ):
        for name, value, least in (
            ("steps", steps, 1),
            ("batch_size", batch_size, 1),
            ("seed", seed, 0),
            ("log_every", log_every, 1),
            ("validate_every", validate_every, 1),
        ):
            if value < least or value % 1:
                raise ValueError(f"expected training.{name} as a whole number of at least {least}, came {value}")
        if clip is not None and not clip >= LEAST:
            bound = f"of at least {LEAST:g}" if clip > 0 else "above 0"
            raise ValueError(f"expected training.clip {bound}, came {clip}; write null for no clipping")
        stated = nonnegative("training.schedule", schedule, "write Cosine or Linear from 1 to 0")
        if not any(vars(stated)[end] for end in ENDS if end in vars(stated)) and any(end in vars(stated) for end in ENDS):
            raise ValueError(
                f"expected training.schedule above 0 somewhere, came {type(stated).__name__} of 0: it moves nothing"
            )
        if patience is not None and patience < 1:
            raise ValueError(f"expected training.patience of at least 1, came {patience}; write null to never stop early")
        if validate_on is not None and validate_on < 2:
            raise ValueError(f"expected training.validate_on of at least 2, came {validate_on}; write null to look at all")
        if not 0 <= ema < 1:
            raise ValueError(f"expected training.ema in [0, 1), came {ema}; 0.999 averages about a thousand steps")
        self.steps, self.batch_size, self.seed, self.schedule = steps, batch_size, seed, schedule
        self.clip, self.ema, self.patience = clip, ema, patience
        self.log_every, self.validate_every, self.validate_on = log_every, validate_every, validate_on


class Machine(Part):
    """Where it runs.

    Args:
        device: auto (an accelerator if there is one), cpu, cuda, cuda:1 and so on, mps.
        precision: no (as the weights are), or bf16 (mixed, by autocast).
        compile: Whether to compile the objective with torch.compile.
        tracker: Where to send the log beside metrics.jsonl: tensorboard, mlflow, wandb or trackio; None: nowhere.

    Example:
        >>> Machine().device
        'auto'
    """

    def __init__(
        self,
        device: str = "auto",
        precision: Literal["no", "bf16"] = "no",
        compile: bool = False,
        tracker: Literal["tensorboard", "mlflow", "wandb", "trackio"] | None = None,
    ):
        self.device, self.precision, self.compile, self.tracker = device, precision, compile, tracker
