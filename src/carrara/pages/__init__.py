"""Pages that people keep: one HTML file each, which holds everything, loads nothing and runs nothing."""

from carrara.pages.template import environment
from carrara.pages.wording import duration, line, plain, rows, share, short

__all__ = ["duration", "environment", "line", "plain", "rows", "share", "short"]
