"""Pages that people keep: one HTML file each, which holds everything, loads nothing and runs nothing."""

from carrara.pages.template import environment

__all__ = ["environment"]
