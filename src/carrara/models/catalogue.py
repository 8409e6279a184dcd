"""The catalogue of models that Carrara knows by name: shape, licence, published scores with their sources."""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache
from importlib.resources import files
from types import MappingProxyType
from typing import Literal

import yaml
from pydantic import BaseModel, ConfigDict

EMBEDDERS = ("BertModel",)  # architectures that turn a text into vectors and write none


class _Entry(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class Shape(_Entry):
    """The sizes that determine memory and speed."""

    layers: int
    width: int
    heads: int
    kv_heads: int
    head_width: int
    feed_forward: int
    vocabulary: int
    tied: bool

    def linears(self) -> dict[str, tuple[int, int]]:
        """The linear modules of one layer by name: how many values each takes and gives."""
        heads, kv = self.heads * self.head_width, self.kv_heads * self.head_width
        return {
            "q_proj": (self.width, heads),
            "k_proj": (self.width, kv),
            "v_proj": (self.width, kv),
            "o_proj": (heads, self.width),
            "gate_proj": (self.width, self.feed_forward),
            "up_proj": (self.width, self.feed_forward),
            "down_proj": (self.feed_forward, self.width),
        }


class Licence(_Entry):
    """What one may do with the weights, in plain words."""

    name: str
    commercial: Literal["yes", "conditional", "no"]
    duties: tuple[str, ...]
    source: str | None


class PublishedScore(_Entry):
    """A figure somebody else published, in per cent; comparable only within one protocol."""

    benchmark: str
    metric: str | None
    shots: int | None
    value: float
    protocol: str | None
    source: str


class CatalogueModel(_Entry):
    """One set of weights. `sha256` is the digest of the file that its package index carries."""

    name: str
    family: str
    reference: str
    hub: str | None
    sha256: str | None
    architecture: str
    parameters: int
    shape: Shape
    context: int | None
    languages: tuple[str, ...] | None
    licence: Licence
    template: str | None
    scores: tuple[PublishedScore, ...]


@cache
def read_catalogue() -> Mapping[str, CatalogueModel]:
    """All entries by name, in the order of the file; parsed once, which takes a quarter of a second."""
    text = (files("carrara.models") / "catalogue.yaml").read_text(encoding="utf-8")
    entries = [CatalogueModel.model_validate(entry) for entry in yaml.safe_load(text)]
    return MappingProxyType({entry.name: entry for entry in entries})
