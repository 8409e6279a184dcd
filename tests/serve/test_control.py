"""Models reach a server that runs by a socket that only its user can enter."""

from __future__ import annotations

import contextlib
import json
import signal
import socket
import stat
import threading
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from carrara.errors import Refusal
from carrara.models import Model
from carrara.serve import control
from carrara.serve.control import _address, join, reachable
from carrara.workspace import Workspace
from tests.conftest import Command

from .asking import MESSAGES, openai_of
from .test_command import command

HOST = "127.0.0.1"


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
    with reachable(workspace, HOST, 8800, taking):
        assert join(workspace, None, None, [base.name, "run/abc"]) == ["m", base.name, "run/abc"]
        assert taking.asked == [{base.name: str(base), "run/abc": "run/abc"}]
        for name, sentence in (("bad", "^bad is no model"), ("worse", "could not be added .KeyError.*goes on")):
            with pytest.raises(Refusal, match=sentence):
                join(workspace, None, 8800, [name])
        assert join(workspace, None, 8800, ["x"])[-1] == "x"


def test_the_folder_is_closed_to_others(workspace: Workspace) -> None:
    with reachable(workspace, HOST, 8800, Taking()):
        folder = workspace.root / "serving"
        assert stat.S_IMODE(folder.stat().st_mode) == 0o700
        assert [path.name for path in folder.iterdir()] == ["8800-127.0.0.1.sock"]
    assert list(folder.iterdir()) == []


def test_who_is_meant_has_to_be_clear(workspace: Workspace) -> None:
    with pytest.raises(Refusal, match="no server of yours listens with this workspace; start one without --join"):
        join(workspace, None, None, ["m"])
    one, two = Taking(), Taking()
    with reachable(workspace, HOST, 8800, one), reachable(workspace, HOST, 8801, two):
        with pytest.raises(Refusal, match=r"name the one .*: --host 127.0.0.1 --port 8800, or --host .* --port 8801"):
            join(workspace, None, None, ["m"])
        with pytest.raises(Refusal, match="no server of yours listens at port 8802"):
            join(workspace, None, 8802, ["m"])
        assert join(workspace, None, 8801, ["m"]) == ["m"]
    assert (one.asked, two.asked) == ([], [{"m": "m"}])


def test_a_socket_that_a_killed_server_left_is_none(workspace: Workspace) -> None:
    folder = workspace.root / "serving"
    folder.mkdir()
    with socket.socket(socket.AF_UNIX) as dead, _address(folder / "8800-127.0.0.1.sock") as address:
        dead.bind(address)
    with pytest.raises(Refusal, match="no server of yours listens"):
        join(workspace, None, None, ["m"])
    with reachable(workspace, HOST, 8800, Taking()):
        assert join(workspace, None, None, ["m"]) == ["m"]


def test_servers_at_one_port_of_several_addresses(workspace: Workspace) -> None:
    one, two = Taking("one"), Taking("two")
    with reachable(workspace, HOST, 8800, one), reachable(workspace, "::1", 8800, two):
        with pytest.raises(Refusal, match=r"name the one .*: --host 127.0.0.1 --port 8800, or --host ::1 --port 8800"):
            join(workspace, None, 8800, ["m"])
        assert join(workspace, "::1", 8800, ["m"]) == ["two", "m"]
        with pytest.raises(Refusal, match=r"listens at port 8800 at the address 127\.0\.0\.2"):
            join(workspace, "127.0.0.2", 8800, ["m"])
        with (
            pytest.raises(Refusal, match="another server with this workspace listens at ::1:8800; choose another"),
            reachable(workspace, "::1", 8800, one),
        ):
            pass
        assert join(workspace, "::1", None, ["n"]) == ["two", "m", "n"]


def test_what_is_no_socket_is_left_alone(workspace: Workspace) -> None:
    with reachable(workspace, HOST, 8800, Taking()):
        for name in ("x.sock", "8801-x.sock", "x-y.sock"):
            (workspace.root / "serving" / name).touch()
        (workspace.root / "serving" / "8802-gone.sock").symlink_to("nowhere")
        assert join(workspace, None, None, ["m"]) == ["m"]
        (workspace.root / "serving" / "8803-x.sock").mkdir()
        with pytest.raises(Refusal, match="cannot be a socket"), reachable(workspace, "x", 8803, Taking()):
            pass


def test_a_path_that_is_too_long_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where the system has no way through an open folder."""
    monkeypatch.setattr(control, "_address", lambda path: contextlib.nullcontext(str(path)))
    workspace = Workspace(tmp_path / ("long" * 40))
    with pytest.raises(Refusal, match="use a --workspace with a shorter path"), reachable(workspace, HOST, 1, Taking()):
        pass
    (workspace.root / "serving" / "8800-127.0.0.1.sock").touch()
    with pytest.raises(Refusal, match="no server of yours listens"):
        join(workspace, None, None, ["m"])


def test_a_system_without_room_ends_nothing(workspace: Workspace, monkeypatch: pytest.MonkeyPatch) -> None:
    accept, failures = socket.socket.accept, [OSError(24, "too many open files")] * 2

    def failing(listener: socket.socket) -> Any:
        if failures:
            raise failures.pop()
        return accept(listener)

    monkeypatch.setattr(socket.socket, "accept", failing)
    with reachable(workspace, HOST, 8800, Taking()):
        assert join(workspace, None, None, ["m"]) == ["m"]
    assert failures == []


def test_a_server_that_takes_too_long_is_told(workspace: Workspace, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(control, "_LOADING", 0.1)
    enough = threading.Event()
    with (
        reachable(workspace, HOST, 8800, lambda _: [str(enough.wait(5))]),
        pytest.raises(Refusal, match=r"the server took no models in 0.1 seconds"),
    ):
        join(workspace, None, None, ["m"])
    enough.set()


@pytest.mark.parametrize(
    ("options", "named"),
    [
        (["--engine", "transformers"], "--engine"),
        (["--key", "k", "--role", "r", "--cors", "http://x"], "--cors, --key, --role"),
        (["--json-logs", "--tls-cert", "x"], "--json-logs, --tls-cert"),
    ],
)
def test_options_that_would_do_nothing_are_refused(carrara: Command, options: list[str], named: str) -> None:
    result = carrara("serve", "m", "--join", "--port", "8800", *options)
    assert result.returncode == 2
    assert f"with --join, {named} would change nothing" in " ".join(result.stderr.split())


def test_a_key_of_the_environment_hinders_no_join(carrara: Command, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CARRARA_KEY", "k")
    result = carrara("serve", "m", "--join", "--host", HOST, "--port", "8800")
    assert "no server of yours listens at port 8800 at the address 127.0.0.1" in " ".join(result.stderr.split())


def test_a_long_path_is_no_hindrance(tmp_path: Path) -> None:
    workspace = Workspace(tmp_path / ("long" * 40))
    with reachable(workspace, HOST, 8800, Taking()):
        assert join(workspace, None, None, ["m"]) == ["m"]


@pytest.mark.parametrize(
    "said", [b"", b"{\n", b"[]\n", b'{"models": 5}\n', b"{}\n", b"x" * (2 << 20) + b"\n", b"[" * 100_000 + b"\n"]
)
def test_nonsense_harms_nobody(workspace: Workspace, said: bytes) -> None:
    taking = Taking()
    with reachable(workspace, HOST, 8800, taking):
        with socket.socket(socket.AF_UNIX) as client:
            with _address(workspace.root / "serving" / "8800-127.0.0.1.sock") as address:
                client.connect(address)
            sender = threading.Thread(target=_send, args=(client, said))
            sender.start()
            sender.join()
        assert join(workspace, None, None, ["m"]) == ["m"]


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
