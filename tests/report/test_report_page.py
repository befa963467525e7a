"""The page: it stands alone, everything is on it, names are escaped, and what is missing is said."""

import json
import re
import subprocess
import sys
from html.parser import HTMLParser

import matplotlib
import pytest
import torch

from report.runs import SUMMARY, vae
from uncollapse.report import write_report
from uncollapse.report.page import read_metrics, split_remedy

FIGURES = ["bound", "information", "samples", "reconstructions", "unit-history", "unit-bars", "latent-map", "traversals"]


class Page(HTMLParser):
    """Tags, attributes and text of a page."""

    def __init__(self, text):
        super().__init__()
        self.tags, self.ids, self.links, self.text, self.captioned = [], [], [], [], 0
        self.feed(text)

    def handle_starttag(self, tag, attrs):
        self.tags.append(tag)
        self.ids += [value for name, value in attrs if name == "id"]
        self.links += [value for name, value in attrs if name in ("src", "href", "xlink:href", "srcset", "data", "action")]

    def handle_data(self, data):
        self.text.append(data)


@pytest.fixture(scope="module")
def x():
    return (torch.rand(60, 1, 8, 8, generator=torch.Generator().manual_seed(0)) > 0.5).float()


def written(run, *what):
    return write_report(run, *what).read_text(encoding="utf-8")


def test_page_stands_alone_and_holds_every_section(run, x):
    text = written(run, vae((1, 8, 8)), x, torch.arange(60) % 10)
    page = Page(text)
    assert not re.search(r"https?:|//[a-z]|@import|url\((?!#)", re.sub(r"base64,[^\"]*", "", text))
    assert page.links and all(link.startswith(("data:image/png;base64,", "#")) for link in page.links)
    assert "script" not in page.tags and "link" not in page.tags
    assert {*FIGURES, "verdict", "remedies", "numbers", "configuration"} <= set(page.ids)
    assert page.tags.count("svg") == page.tags.count("figcaption") == len(FIGURES)
    assert len(page.ids) == len(set(page.ids))
    assert {link[1:] for link in page.links if link[0] == "#"} <= set(page.ids)


def test_page_says_the_verdict_its_reason_its_cures_and_the_numbers(run, x):
    text = written(run, vae((1, 8, 8)), x, None)
    said = " ".join(" ".join(Page(text).text).split())
    assert 'class="banner bad"' in text and "Collapsed" in said and SUMMARY["reason"] in said
    assert "<code>uncollapse train vae --objective.free_bits 0.25</code>" in text and "Leave each unit some nats" in said
    for number in ("21.35 ± 0.21 nats", "0.4812 bits/dim", "1 of 4", "at most 6.210", "12345", "1 min 23 s", "vae · digits"):
        assert number in said, number


def test_names_and_configuration_are_escaped(run):
    (run / "metrics.jsonl").unlink()
    (run / "summary.json").write_text(json.dumps(SUMMARY | {"data": "<img src=x>", "reason": '"<i>'}))
    text = written(run, None, None, None)
    assert "<h1>digits &lt;b&gt;&amp;amp; friends</h1>" in text
    assert (
        "&lt;script&gt;alert(1)&lt;/script&gt;" in text and "<script" not in text and "<img" not in text and "<i>" not in text
    )


@pytest.mark.parametrize(("verdict", "tone"), [("healthy", "good"), ("partly collapsed", "doubtful"), ("strange", "open")])
def test_banner_follows_the_verdict(tmp_path, verdict, tone):
    (tmp_path / "summary.json").write_text(json.dumps({"verdict": verdict}))
    text = written(tmp_path, None, None, None)
    assert f'class="banner {tone}"' in text and 'id="remedies"' not in text


def test_an_empty_folder_gives_a_page_that_says_what_is_missing(tmp_path):
    text = written(tmp_path, None, None, None)
    assert "No verdict" in text and "holds no bound yet" in text and "holds no config.yaml" in text and "<svg" not in text


def test_without_observations_the_figures_that_need_them_are_left_out(run):
    text = written(run, vae((1, 8, 8)), None, None)
    assert text.count("needs held-out observations") == 3 and text.count("<svg") == len(FIGURES) - 3


def test_before_the_end_the_last_validation_is_told(run):
    (run / "summary.json").unlink()
    text = written(run, None, None, None)
    assert 'class="banner bad"' in text and "valid" in text


def test_a_tractable_model_has_curves_and_no_verdict(tmp_path):
    lines = [{"kind": kind, "step": t, "log_likelihood": -1.0 - 1 / t} for t in range(1, 30) for kind in ("train", "valid")]
    (tmp_path / "metrics.jsonl").write_text("\n".join(map(json.dumps, lines)))
    text = written(tmp_path, None, None, None)
    assert "No verdict" in text and text.count("<svg") == 1 and "no KL divergence" in text


@pytest.mark.parametrize(("shape", "features"), [((2,), 2), ((7,), 1), ((3, 4, 4), 3), ((2, 3, 5), 4)])
def test_points_vectors_and_images_are_drawn(run, shape, features):
    (run / "metrics.jsonl").unlink()
    data = torch.rand(30, *shape, generator=torch.Generator().manual_seed(0))
    data = data.round() if len(shape) == 3 else data
    text = written(run, vae(shape, features), data, torch.linspace(0, 1, 30))
    assert text.count("<svg") == 4


def test_the_page_is_deterministic_and_leaves_no_trace(run, x):
    model = vae((1, 8, 8)).train()
    torch.manual_seed(5)
    settings, expected = dict(matplotlib.rcParams), torch.rand(3, generator=torch.Generator().manual_seed(5))
    first = written(run, model, x, None)
    assert (torch.rand(3) == expected).all() and dict(matplotlib.rcParams) == settings and model.training
    assert written(run, model, x, None) == first
    assert all(p.grad is None for p in model.parameters())


def test_a_broken_model_gives_a_page_all_the_same(run):
    (run / "metrics.jsonl").unlink()
    model = vae((2,))
    with torch.no_grad():
        model.posterior.network.layers[0].bias.fill_(float("nan"))
    text = written(run, model, torch.rand(20, 2), None)
    assert "not finite" in text and 'id="latent-map"' in text


def test_metrics_may_end_in_the_middle_of_a_line(run):
    rows = read_metrics(run / "metrics.jsonl")
    assert len(rows) == 36 and {row["kind"] for row in rows} == {"train", "valid"}


def test_a_remedy_without_an_explanation_is_a_command():
    assert split_remedy("uncollapse train vae") == ("uncollapse train vae", "")


def test_the_rest_of_the_house_needs_no_matplotlib():
    code = "import sys, uncollapse, uncollapse.vae; sys.exit('matplotlib' in sys.modules or 'jinja2' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
