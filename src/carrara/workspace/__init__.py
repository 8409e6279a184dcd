"""Where things are kept: immutable artefacts named by the digest of what made them, and an index over them."""

from carrara.workspace.artefact import RECORD, Artefact, artefact_id
from carrara.workspace.files import (
    digest_of_file,
    digest_of_value,
    free_space,
    is_full_disk,
    user_path,
    write_atomically,
)
from carrara.workspace.store import Draft, Workspace, open_workspace

__all__ = [
    "RECORD",
    "Artefact",
    "Draft",
    "Workspace",
    "artefact_id",
    "digest_of_file",
    "digest_of_value",
    "free_space",
    "is_full_disk",
    "open_workspace",
    "user_path",
    "write_atomically",
]
