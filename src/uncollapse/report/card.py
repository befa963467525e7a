"""The model card: the README of a run folder."""

import json
import shlex
from pathlib import Path
from typing import Any

from uncollapse.atomic_write import write_text
from uncollapse.evaluation.numbers import FAR_FROM_PRIOR, Number, Summary, facts, far_from_prior, meaning, measures
from uncollapse.report.markdown import block, code, escaped

CARD = """\
---
library_name: uncollapse
tags:
{tags}
---

# {name}

A deep generative model{of}, trained and diagnosed with `uncollapse`.

## Verdict

{verdict}

## Numbers

{measures}

{facts}

## Load it

{load}

`uncollapse evaluate`, `sample`, `encode` and `report` take the folder as well; [report.html](report.html) shows the curves, the
samples and the latent space.

## How it was trained

{command}

The whole configuration:

{config}

## Limits

{limits}
"""


UNFIT = {
    "collapsed": "The posterior is collapsed: use neither its encodings nor its reconstructions.",
    "worse than no code": "The decoder is worse than the data's own averages: do not use its reconstructions or samples.",
    "broken": "The model gives numbers that are not finite: do not use it.",
    "unknown": "Whether its code is used is not known: look at reconstructions before you use its encodings.",
}
"""What a verdict says of the use of a VAE."""


LOAD = """import uncollapse as uc

model = uc.load({name})  # the folder that holds this file
x = model.sample(16)  # draws of x; model.sample(16, mean=True) for their means"""


def write_model_card(run: Path, summary: Summary, config: dict[str, Any] | str) -> None:
    """Write README.md into a run folder: what the model is, its numbers with units, the verdict, how to load it, its limits.

    Args:
        run: The run folder.
        summary: What summary.json holds; what is missing is left out.
        config: The configuration that it was trained with, as text or as values.
    """
    run = Path(run)
    on = [
        f" of {code(summary['data'])} data" if summary.get("data") else "",
        f" (recipe {code(summary['recipe'])})" if summary.get("recipe") else "",
    ]
    text = CARD.format(
        name=escaped(run.resolve().name),
        load=block(LOAD.format(name=json.dumps(run.resolve().name)), "python"),
        of="".join(on),
        tags="\n".join(f"- {tag}" for tag in ["generative-model", *["variational-autoencoder"] * ("kl" in summary)]),
        verdict=_verdict(summary),
        measures=table(measures(summary), ("measure", "value", "unit", "how to read it")),
        facts=table(facts(summary), ("run", "value", "unit", "")),
        command=block(command(summary)),
        config=block(_yaml(config).strip(), "yaml"),
        limits="\n".join(f"- {limit}" for limit in _limits(summary)),
    )
    write_text(run / "README.md", text, run)


def table(numbers: list[Number], heads: tuple[str, str, str, str]) -> str:
    """A Markdown table.

    Example:
        >>> print(table([Number("KL(q(z|x))", "3.1", "nats", "")], ("measure", "value", "unit", "note")))
        | measure | value | unit | note |
        |---|---:|---|---|
        | KL(q(z\\|x)) | 3.1 | nats |  |
    """
    rows = ["| " + " | ".join(map(escaped, row)) + " |" for row in (heads, *numbers)]
    return "\n".join([rows[0], "|---|---:|---|---|", *rows[1:]]) if numbers else "None yet."


def command(summary: Summary) -> str:
    """The command that trains such a model again.

    Example:
        >>> command({"recipe": "vae", "data": "digits", "steps": 2000, "seed": 0})
        'uncollapse train vae --data digits --steps 2000 --seed 0'
    """
    options = [
        f"--{name} {shlex.quote(str(summary[name]))}"
        for name in ("data", *(() if summary.get("stages") else ("steps",)), "seed")  # each stage states its own steps
        if summary.get(name) is not None
    ]
    return " ".join(["uncollapse train", shlex.quote(str(summary.get("recipe") or "config.yaml")), *options])


def _verdict(summary: Summary) -> str:
    verdict = summary.get("verdict")
    if not verdict:
        return "None: the model has no posterior, or it was not diagnosed."
    lines = [f"**{escaped(verdict)}**" + (f": {meaning(summary)}." if meaning(summary) else ".")]
    lines += [f"The evidence: {escaped(summary['reason'])}."] if summary.get("reason") else []
    remedies = summary.get("remedies") or []
    return "\n\n".join([*lines, "To try:\n\n" + block("\n".join(remedies))] if remedies else lines)


def _yaml(config: dict[str, Any] | str) -> str:
    if isinstance(config, str):
        return config
    import yaml

    text: str = yaml.safe_dump(config, sort_keys=False, allow_unicode=True)
    return text


def _limits(summary: Summary) -> list[str]:
    """What the numbers and the model do not say."""
    limits = ["It models data of the kind that it was trained on; of other data its densities and codes say nothing reliable."]
    if summary.get("n_importance_samples"):
        count = f"{summary['n_importance_samples']:,}"
        limits.append(f"The likelihood is an importance-sampling estimate with {count} samples, a lower bound on average.")
    if summary.get("mutual_information_ceiling"):
        ceiling = f"{summary['mutual_information_ceiling']:.2f}"
        limits.append(
            f"The mutual information is an estimate that cannot exceed {ceiling} nats; a value near that is a lower bound."
        )
    if summary.get("verdict") in UNFIT:
        limits.append(UNFIT[summary["verdict"]])
    if far_from_prior(summary):
        limits.append(f"{FAR_FROM_PRIOR.capitalize()}: they are worse than its reconstructions.")
    return [*limits, "One seed was trained; another seed gives other numbers."]
