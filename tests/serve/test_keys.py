"""Stored keys: named, hashed, private, and gone when they are removed."""

from __future__ import annotations

import ast
import hashlib
import hmac
import inspect
import json
import os
import stat
from pathlib import Path

import pytest

from carrara.errors import Refusal
from carrara.serve import keys
from carrara.serve.answered import Answered
from carrara.serve.keys import FILE, KeyFile, OneKey, add_key, read_keys, remove_key
from tests.conftest import Command

from .asking import CHAT, HELLO, client_of, error_of


def test_a_key_is_shown_once_and_stored_hashed_for_its_owner_alone(tmp_path: Path) -> None:
    path = tmp_path / FILE
    before = os.umask(0)
    try:
        key = add_key(path, "ann")
    finally:
        os.umask(before)
    assert len(key) >= 43  # 256 bits in base64
    assert key not in path.read_text()
    assert json.loads(path.read_text())["ann"]["sha256"] == hashlib.sha256(key.encode()).hexdigest()
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert add_key(path, "bob") != key
    assert list(read_keys(path)) == ["ann", "bob"]
    assert stat.S_IMODE(path.stat().st_mode) == 0o600


def test_keys_tell_their_owners(tmp_path: Path) -> None:
    path = tmp_path / FILE
    ann, bob = add_key(path, "ann"), add_key(path, "bob")
    stored = KeyFile(path)
    assert [stored.owner(key.encode()) for key in (ann, bob, ann + "x", "", "ann")] == ["ann", "bob", None, None, None]
    assert OneKey("k").owner(b"k") == "key"
    assert OneKey("k").owner(b"K") is None


def test_a_running_server_follows_the_file(tmp_path: Path) -> None:
    path = tmp_path / FILE
    told: list[Answered] = []
    ann = add_key(path, "ann")
    client = client_of(keys=KeyFile(path), on_answer=told.append)
    bob = add_key(path, "bob")
    for key in (ann, f"Bearer {bob}"):
        assert client.post(CHAT, json=HELLO, headers={"Authorization": key}).status_code == 200
    remove_key(path, "ann")
    assert client.post(CHAT, json=HELLO, headers={"Authorization": ann}).status_code == 401
    assert [one.who for one in told] == ["ann", "bob"]
    path.write_text("{broken")
    assert client.post(CHAT, json=HELLO, headers={"Authorization": bob}).status_code == 401
    path.unlink()
    assert error_of(client.get("/v1/models", headers={"Authorization": bob}), 401)["code"] == "invalid_api_key"


@pytest.mark.parametrize("name", ["", "../x", "a b", ".hidden", "x" * 65, "a\n", "ключ", "-rf"])
def test_names_that_are_none_are_refused(tmp_path: Path, name: str) -> None:
    with pytest.raises(Refusal, match="cannot be named"):
        add_key(tmp_path / FILE, name)
    assert not (tmp_path / FILE).exists()


def test_a_name_is_used_once_and_has_to_be_there_to_be_removed(tmp_path: Path) -> None:
    path = tmp_path / FILE
    add_key(path, "ann")
    with pytest.raises(Refusal, match="a key 'ann' already"):
        add_key(path, "ann")
    with pytest.raises(Refusal, match="no key 'bob'; there are: ann"):
        remove_key(path, "bob")


@pytest.mark.parametrize("text", ["", "[]", "{", '{"ann": {}}', '{"ann": {"created": "x", "sha256": "abc"}}'])
def test_a_file_that_holds_no_keys_is_refused(tmp_path: Path, text: str) -> None:
    (tmp_path / FILE).write_text(text)
    with pytest.raises(Refusal, match="remove"):
        KeyFile(tmp_path / FILE)


def test_keys_are_compared_in_constant_time(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Every stored key is compared, found or not, and only by hmac: nothing in the function compares by itself."""
    path = tmp_path / FILE
    given = [add_key(path, name) for name in ("ann", "bob", "cid")]
    stored = KeyFile(path)
    compared: list[bytes] = []
    genuine = hmac.compare_digest

    def counting(left: bytes, right: bytes) -> bool:
        compared.append(right)
        return genuine(left, right)

    monkeypatch.setattr(hmac, "compare_digest", counting)
    for key in (*given, "wrong", ""):
        compared.clear()
        stored.owner(key.encode())
        assert len(set(compared)) == len(compared) == 3
    tree = ast.parse(inspect.getsource(keys._owner))
    assert not [node for node in ast.walk(tree) if isinstance(node, ast.Compare)]


def test_the_command(carrara: Command) -> None:
    added = carrara("keys", "add", "ann")
    assert (added.returncode, len(added.stdout.strip())) == (0, 43)
    assert "not shown again" in added.stderr
    assert json.loads(carrara("keys", "list", "--json").stdout)["keys"][0]["name"] == "ann"
    assert carrara("keys", "remove", "bob").returncode == 2
    assert carrara("keys", "remove", "ann").returncode == 0
    assert "no keys are stored" in carrara("keys", "list").stderr
