"""What a run looks like: figures, self-contained HTML pages, a model card, and samples as files."""

from uncollapse.report.bench import write_bench_report
from uncollapse.report.card import write_model_card
from uncollapse.report.images import image_grid, save_samples
from uncollapse.report.page import split_remedy, write_report

__all__ = ["image_grid", "save_samples", "split_remedy", "write_bench_report", "write_model_card", "write_report"]
