"""What the licence asks, in plain words, and where the weights can run without anyone else."""

from __future__ import annotations

from carrara.models import CatalogueModel
from carrara.scorecard.figure import Figure, unknown

_COMMERCIAL = {
    "yes": "It may be used commercially.",
    "conditional": "It may be used commercially under conditions.",
    "no": "It may not be used commercially.",
}


def licence_figures(entry: CatalogueModel | None) -> list[Figure]:
    """The licence and whether it allows commercial use, as published; unknown where the catalogue has no source."""
    if entry is None:
        return [unknown("licence", "the model is not in the catalogue; read the licence that came with its weights.")]
    licence = entry.licence
    if licence.source is None:
        why = f"the catalogue says {licence.name} and names no source; read it where the weights come from."
        return [unknown("licence", why)]
    duties = " ".join(licence.duties) or "It asks nothing more."
    meaning = f"{_COMMERCIAL[licence.commercial]} {duties}"
    return [
        Figure("licence", licence.name, None, "published", licence.source, meaning=meaning),
        Figure(
            "commercial use",
            licence.commercial,
            None,
            "published",
            f"{licence.name}: {licence.source}",
            meaning=_COMMERCIAL[licence.commercial],
        ),
    ]


def closed_figure(parameters: int) -> Figure:
    """Where it runs without a connection: wherever its weights fit."""
    size = 2 * parameters / 1e9
    return Figure(
        measure="can run closed",
        value=True,
        interval=None,
        kind="derived",
        source=f"{parameters:,} parameters at 2 bytes; its weights are files, and running them asks no one",
        meaning=f"It runs on a machine of yours without a network; the weights take {size:.1f} GB in 16 bits.",
    )
