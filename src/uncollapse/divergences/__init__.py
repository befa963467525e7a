"""Divergences: how far one distribution is from another."""

from uncollapse.divergences.kl import has_closed_form, kl_units

__all__ = ["has_closed_form", "kl_units"]
