"""The environment in which pages are rendered; `base.html.j2` beside it holds what all of them share."""

from __future__ import annotations

from pathlib import Path

import jinja2


def environment(package_folder: Path) -> jinja2.Environment:
    """The templates of a package, which extend `base.html.j2`.

    Autoescape is on for everything, because the texts come from anywhere; a name that is missing is an error.
    """
    return jinja2.Environment(
        loader=jinja2.FileSystemLoader([package_folder, Path(__file__).parent]),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
