"""Models reach a server that runs by a socket that only its user can enter."""

from __future__ import annotations

import json
import signal
import socket
import stat
import threading
from collections.abc import Mapping
from pathlib import Path

import pytest

from carrara.errors import Refusal
from carrara.models import Model
from carrara.serve.control import join, reachable
from carrara.workspace import Workspace
from tests.conftest import Command

from .asking import MESSAGES, openai_of
from .test_command import command


class Taking:
    """Takes models as a server would."""

    def __init__(self, *names: str) -> None:
        self.names = list(names)
        self.asked: list[dict[str, str]] = []

    def __call__(self, models: Mapping[str, str]) -> list[str]:
        self.asked.append(dict(models))
        if "bad" in models:
            raise Refusal("bad is no model.")
        if "worse" in models:
            raise KeyError("worse")
        self.names += models
        return self.names


def test_models_are_handed_over_and_paths_in_full(
    workspace: Workspace, tiny_models: dict[str, Model], monkeypatch: pytest.MonkeyPatch
) -> None:
    base, taking = tiny_models["base"].path, Taking("m")
    monkeypatch.chdir(base.parent)
    with reachable(workspace, 8800, taking):
        assert join(workspace, None, [base.name, "run/abc"]) == ["m", base.name, "run/abc"]
        assert taking.asked == [{base.name: str(base), "run/abc": "run/abc"}]
        for name, sentence in (("bad", "^bad is no model"), ("worse", "could not be added .KeyError.*goes on")):
            with pytest.raises(Refusal, match=sentence):
                join(workspace, 8800, [name])
        assert join(workspace, 8800, ["x"])[-1] == "x"


def test_the_folder_is_closed_to_others(workspace: Workspace) -> None:
    with reachable(workspace, 8800, Taking()):
        folder = workspace.root / "serving"
        assert stat.S_IMODE(folder.stat().st_mode) == 0o700
        assert [path.name for path in folder.iterdir()] == ["8800.sock"]
    assert list(folder.iterdir()) == []


def test_who_is_meant_has_to_be_clear(workspace: Workspace) -> None:
    with pytest.raises(Refusal, match="no server of yours listens with this workspace; start one without --join"):
        join(workspace, None, ["m"])
    one, two = Taking(), Taking()
    with reachable(workspace, 8800, one), reachable(workspace, 8801, two):
        with pytest.raises(Refusal, match=r"servers listen at the ports 8800, 8801; name the one .* --port"):
            join(workspace, None, ["m"])
        with pytest.raises(Refusal, match="no server of yours listens at port 8802"):
            join(workspace, 8802, ["m"])
        assert join(workspace, 8801, ["m"]) == ["m"]
    assert (one.asked, two.asked) == ([], [{"m": "m"}])


def test_a_socket_that_a_killed_server_left_is_none(workspace: Workspace) -> None:
    folder = workspace.root / "serving"
    folder.mkdir()
    with socket.socket(socket.AF_UNIX) as dead:
        dead.bind(str(folder / "8800.sock"))
    with pytest.raises(Refusal, match="no server of yours listens"):
        join(workspace, None, ["m"])
    with reachable(workspace, 8800, Taking()):
        assert join(workspace, None, ["m"]) == ["m"]


def test_a_long_path_is_no_hindrance(tmp_path: Path) -> None:
    workspace = Workspace(tmp_path / ("long" * 40))
    with reachable(workspace, 8800, Taking()):
        assert join(workspace, None, ["m"]) == ["m"]


@pytest.mark.parametrize("said", [b"", b"{\n", b"[]\n", b'{"models": 5}\n', b"{}\n", b"x" * (2 << 20) + b"\n"])
def test_nonsense_harms_nobody(workspace: Workspace, said: bytes) -> None:
    taking = Taking()
    with reachable(workspace, 8800, taking):
        with socket.socket(socket.AF_UNIX) as client:
            client.connect(str(workspace.root / "serving" / "8800.sock"))
            sender = threading.Thread(target=_send, args=(client, said))
            sender.start()
            sender.join()
        assert join(workspace, None, ["m"]) == ["m"]


def _send(client: socket.socket, said: bytes) -> None:
    try:
        client.sendall(said)
    except OSError:  # nobody reads that much
        return


def test_a_running_server_answers_for_what_joins(
    carrara: Command, tiny_models: dict[str, Model], tmp_path: Path
) -> None:
    folder, adapter = str(tiny_models["base"].path), tiny_models["run/one"].adapter
    assert adapter is not None
    with command(folder, "--key", "key", "--audit-contents", workspace=tmp_path / "workspace") as process:
        try:
            assert process.stderr is not None
            url = next(line for line in process.stderr if "serving" in line).split()[-1]
            client = openai_of(url)
            wrong = carrara("serve", "no-such-model", "--join")
            assert wrong.returncode == 2
            assert "there is no model 'no-such-model'" in wrong.stderr
            right = carrara("serve", str(adapter), "--join", "--port", url.split(":")[2].removesuffix("/v1"))
            assert right.returncode == 0, right.stderr
            assert [each.id for each in client.models.list()] == [folder, str(adapter)]
            said = [
                client.chat.completions.create(model=name, messages=MESSAGES, temperature=0, max_tokens=8)
                for name in (folder, str(adapter))
            ]
            assert said[0].choices[0].message.content != said[1].choices[0].message.content
            again = carrara("serve", str(adapter), "--join")
            assert "is served here already" in " ".join(again.stderr.split())
            process.send_signal(signal.SIGTERM)
            assert process.wait(10) == -signal.SIGTERM
        finally:
            process.kill()
    lines = [json.loads(line) for line in (tmp_path / "workspace" / "audit" / "log.jsonl").read_text().splitlines()]
    digests = [line["digest"] for line in lines if line["route"].endswith("completions")]
    assert len({*digests, ""}) == 3
    assert not list((tmp_path / "workspace" / "serving").iterdir())
