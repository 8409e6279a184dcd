"""`carrara doctor --privacy`: the real way is silent, and what is planted in it is seen."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from pathlib import Path
from unittest import mock

import pytest

from carrara.egress import Attempt
from carrara.models import Model, resolve_model
from carrara.privacy import Privacy, _lend
from carrara.progress import Silent
from carrara.workspace import Workspace
from tests.cli.calling import call

OUT = Attempt("outbound", "connect", "192.0.2.1:80")
HERE = Attempt("loopback", "connect", "127.0.0.1:9")


@pytest.mark.slow
def test_nothing_leaves_on_the_real_way(tmp_path: Path) -> None:
    workspace = tmp_path / "workspace"
    told = call(workspace, "doctor", "--privacy", "--json").json
    assert (told["holds"], told["outbound"], told["stopped"]) == (True, 0, None)
    assert told["model"].startswith("a tiny random model")
    assert told["unrouted"] == (0 if told["open_because"] is None else None)
    seen = {(each["reach"], each["call"]) for each in told["seen"]}
    assert seen == {("loopback", "connect"), ("local socket", "connect"), ("program", "start")}  # gateway and engine
    assert [path for path in (workspace / "artefacts").rglob("*") if path.is_file()] == []


@pytest.mark.model
def test_the_embedded_model_is_lent_and_neither_copied_nor_removed(smollm: Model, tmp_path: Path) -> None:
    folder = tmp_path / "folder"
    lent = resolve_model(Workspace(folder / "workspace"), _lend(smollm.source, folder), Silent())
    assert lent.path.resolve() == smollm.path
    assert lent.digest == smollm.digest
    shutil.rmtree(folder)
    assert (smollm.path / "model.safetensors").is_file()


def test_what_is_planted_in_the_way_is_seen(tmp_path: Path) -> None:
    code = (
        "import sys, urllib.request, pathlib, carrara.privacy as privacy\n"
        "privacy._go = lambda folder, model: urllib.request.urlopen('http://192.0.2.1')\n"
        "privacy._watched(pathlib.Path(sys.argv[1]), '')"
    )
    subprocess.run([sys.executable, "-c", code, str(tmp_path)], check=True, timeout=60)
    told = json.loads((tmp_path / "seen.json").read_text())
    assert [{"reach": "outbound", "call": "connect", "target": "192.0.2.1:80"}, 1] in told["seen"]
    assert "nothing may leave this machine (192.0.2.1:80)" in told["stopped"]


@pytest.mark.parametrize(
    ("seen", "unrouted", "stopped", "outbound", "holds"),
    [
        ({HERE: 4}, 0, None, 0, True),
        ({HERE: 4}, None, None, 0, True),
        ({OUT: 2, HERE: 1}, 0, None, 2, False),
        ({}, 3, None, 3, False),
        ({}, 0, "no room", 0, False),
    ],
)
def test_what_was_seen_decides(
    tmp_path: Path, seen: dict[Attempt, int], unrouted: int | None, stopped: str | None, outbound: int, holds: bool
) -> None:
    found = Privacy("m", seen, None if unrouted is not None else "not permitted", unrouted, stopped, 1.0)
    assert (found.outbound, found.holds) == (outbound, holds)
    with mock.patch("carrara.privacy.examine_privacy", return_value=found):
        words = call(tmp_path / "workspace", "doctor", "--privacy")
        told = call(tmp_path / "workspace", "doctor", "--privacy", "--json")
    assert words.code == told.code == (0 if holds else 1)
    assert f"outbound  {outbound}\n" in words.out
    assert ("could not be cut off (not permitted)" in words.out) == (unrouted is None)
    assert json.loads(told.out)["seen"] == [
        {"reach": a.reach, "call": a.call, "target": a.target, "count": n} for a, n in seen.items()
    ]
    if outbound:
        assert words.sentence == f"{outbound} attempts to reach beyond this machine were seen; they are listed above."
