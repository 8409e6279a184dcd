"""Which stone: naming, fetching, converting, loading and planning for models."""

from carrara.models.catalogue import CatalogueModel, read_catalogue
from carrara.models.model import Model, base_of_run, model_of_run, resolve_model, resolve_run
from carrara.models.reference import Reference, parse_reference

__all__ = [
    "CatalogueModel",
    "Model",
    "Reference",
    "base_of_run",
    "model_of_run",
    "parse_reference",
    "read_catalogue",
    "resolve_model",
    "resolve_run",
]
