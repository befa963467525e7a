"""What a run looks like: figures, one self-contained HTML page, a model card, and samples as files."""

from uncollapse.report.card import write_model_card
from uncollapse.report.images import image_grid, save_samples
from uncollapse.report.page import write_report

__all__ = ["image_grid", "save_samples", "write_model_card", "write_report"]
