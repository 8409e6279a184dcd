"""The small embedder that tells what texts mean, for the rooms that ask it."""

from __future__ import annotations

from carrara.errors import Refusal
from carrara.models import resolve_model
from carrara.models.load import Loaded, load_any
from carrara.progress import Progress
from carrara.workspace import Workspace

EMBEDDER = "all-minilm-l6-v2"


def embedder_digest(workspace: Workspace, progress: Progress) -> str | None:
    """Which embedder would be loaded; None where it cannot be had."""
    try:
        return resolve_model(workspace, EMBEDDER, progress).digest
    except Refusal:
        return None


def load_embedder(workspace: Workspace, progress: Progress) -> Loaded:
    """The embedder; raises Refusal where it cannot be had."""
    return load_any(resolve_model(workspace, EMBEDDER, progress), "float32")
