"""Data sets of the hub: their files of rows, fetched once at a pinned commit."""

from __future__ import annotations

import os
import re
import shutil
from typing import Any

from carrara.data.read.streams import DOCUMENTS, format_of
from carrara.errors import Refusal
from carrara.models.fetch import hub_errors
from carrara.progress import Progress
from carrara.workspace import Artefact, Draft, Workspace, digest_of_file, free_space

SCHEME = "hub:"
FORMAT = 1  # raised when the same commit would give other files
_NAME = re.compile(r"hub:([\w.-]+(?:/[\w.-]+)?)(?:@([\w./-]+))?")


def fetch_rows(workspace: Workspace, text: str, progress: Progress) -> Artefact:
    """The files of rows of `hub:owner/name[@revision]` as an artefact of kind `rows`; raises Refusal.

    Where some names say `train`, only these are taken.
    """
    os.environ.setdefault("HF_HUB_DISABLE_TELEMETRY", "1")
    from huggingface_hub import HfApi
    from huggingface_hub.errors import HFValidationError, RepositoryNotFoundError, RevisionNotFoundError

    name = _NAME.fullmatch(text)
    if name is None:
        raise Refusal(f"{text} names no data set; write hub:owner/name or hub:owner/name@revision.")
    repository, revision = name[1], name[2] or "main"
    where = f"hub:datasets/{repository}@{revision}"
    if (known := workspace.index.alias(where)) and (found := workspace.find(*known.split("/", 1))):
        return found
    try:
        api = HfApi(endpoint=os.environ.get("HF_ENDPOINT"))
        info = api.dataset_info(repository, revision=revision, files_metadata=True)
        commit = str(info.sha)
        siblings = _chosen(text, info.siblings or [], progress)

        def build(draft: Draft) -> None:
            progress.say(f"fetching {len(siblings)} files of {text} at commit {commit}")
            _fetch(draft, text, repository, commit, siblings)

        made_by = {"format": FORMAT, "hub": repository, "commit": commit}
        artefact = workspace.make("rows", made_by, build, name=text, on_wait=progress.say)
    except (RepositoryNotFoundError, RevisionNotFoundError) as error:
        raise Refusal(f"{text} does not exist or is not open to you; check the name or log in to the hub.") from error
    except HFValidationError as error:
        raise Refusal(f"{text} is no name that the hub allows; write hub:owner/name@revision.") from error
    except hub_errors() as error:
        reason = (str(error).strip() or type(error).__name__).splitlines()[0][:160]
        raise Refusal(f"{text} cannot be fetched ({reason}); check the network, or give local files.") from error
    workspace.index.set_alias(where, artefact.reference)
    return artefact


def _chosen(text: str, siblings: list[Any], progress: Progress) -> list[Any]:
    """The files of rows, those for training where names tell them apart."""
    rows = [file for file in siblings if (format := format_of(file.rfilename)[0]) and format not in DOCUMENTS]
    rows = [file for file in rows if not file.rfilename.startswith(".") and ".." not in file.rfilename.split("/")]
    rows = [
        file for file in rows if file.rfilename.rpartition("/")[2] not in ("dataset_infos.json", "dataset_info.json")
    ]
    if not rows:
        raise Refusal(f"{text} has no JSON, CSV, TSV, Parquet or Arrow file; give a data set that is made of files.")
    train = [file for file in rows if "train" in file.rfilename.lower()]
    if train and len(train) < len(rows):
        progress.say(f"of {text} only the {len(train)} of {len(rows)} files whose names say train are taken")
    return train or rows


def _fetch(draft: Draft, text: str, repository: str, commit: str, siblings: list[Any]) -> None:
    from huggingface_hub import hf_hub_download

    size, free = sum(file.size or 0 for file in siblings), free_space(draft.path)
    if size > free:
        raise Refusal(f"{text} needs {size / 1e9:.1f} GB and {draft.path} has {free / 1e9:.1f} GB free; make room.")
    for file in siblings:
        path = hf_hub_download(repository, file.rfilename, repo_type="dataset", revision=commit, local_dir=draft.path,
                               endpoint=os.environ.get("HF_ENDPOINT"))  # fmt: skip
        if file.lfs and digest_of_file(draft.path / file.rfilename) != file.lfs.sha256:
            raise Refusal(f"{text}: {path} does not have the published sha256; fetch it again.")
    shutil.rmtree(draft.path / ".cache", ignore_errors=True)
    draft.summary.update(source=text, commit=commit)
