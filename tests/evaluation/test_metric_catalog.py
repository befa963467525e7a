"""One catalogue of metrics and verdicts: what refers to it agrees with it."""

import re

import pytest

from uncollapse.cli.tables import numbers
from uncollapse.diagnosis import mode_verdict, posterior_verdict
from uncollapse.evaluation.metric_catalog import CATALOG, MEASURES, STATED, VERDICTS
from uncollapse.evaluation.numbers import measures
from uncollapse.report.card import UNFIT
from uncollapse.report.judged_words import ADVICE
from uncollapse.report.rows import columns
from uncollapse.report.style import COLORS


def test_every_verdict_of_both_diagnoses_is_shown_in_one_way() -> None:
    assert VERDICTS.keys() == posterior_verdict.MEANINGS.keys() | mode_verdict.MEANINGS.keys()
    assert ADVICE.keys() == mode_verdict.MEANINGS.keys() and UNFIT.keys() <= posterior_verdict.MEANINGS.keys()
    assert {style.tone.color for style in VERDICTS.values()} <= COLORS.keys()


def test_metrics_refer_to_metrics_and_colours_that_exist() -> None:
    known = MEASURES.keys() | {f"{name}_data" for name in MEASURES}
    for name, metric in CATALOG.items():
        assert {other for other, _ in metric.beside} <= known and (not metric.out_of or metric.out_of in known), name
        assert all(words.count("{}") == 1 for _, words in metric.beside) and metric.color in COLORS, name


def test_what_is_better_is_said_as_it_is_marked() -> None:
    said = {name: re.findall("(lower|higher) is better", metric.meaning) for name, metric in CATALOG.items()}
    assert all(words == [CATALOG[name].better] for name, words in said.items() if words)
    assert sum(map(bool, said.values())) >= 7


@pytest.mark.parametrize("kind", [{"nll": 1.0, "fid": 2.0}, {"coverage": 0.5}])
def test_every_column_of_a_table_of_rows_has_a_head(kind: dict[str, float]) -> None:
    heads = columns({"row": kind})
    assert len(heads) >= 9 and all(heads.values()) and len(set(heads.values())) == len(heads)


def test_a_metric_its_error_and_what_it_is_compared_with_are_one_line() -> None:
    for name, metric in STATED.items():
        with_all = {name: 0.5, f"{name}_standard_error": 0.25, **{other: 0.125 for other, _ in metric.beside}}
        with_all |= {metric.out_of: 8} if metric.out_of else {}
        (line,) = measures(with_all)
        assert line.label == metric.label and "± 0.25" in line.value, name
        assert line.meaning.count("0.1250") == len(metric.beside) and (line.unit == "of 8") == bool(metric.out_of), name


def test_a_text_that_is_named_like_a_unit_is_none() -> None:
    """Which density was estimated is no unit of the density of samples; which divergence a critic estimates is one."""
    found = {"density": 1.5, "density_of": "the model with output noise", "critic_divergence": 0.5}
    names, values = (list(column.cells) for column in numbers(found | {"critic_divergence_of": "nats of KL"}).columns)
    told = dict(zip(names, values, strict=True))
    assert told["density"] == "1.500" and told["critic_divergence"] == "0.500 nats of KL"
