"""Models at another server: only those that were asked for, and vLLM's adapters under names that hold their digest."""

from __future__ import annotations

import json
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from carrara.errors import Refusal
from carrara.models import Model
from carrara.serve.engine import UnknownModel
from carrara.serve.remote import KEY, Loaded, how_to_start, open_openai, open_vllm, vllm_name
from carrara.serve.transformers_engine import TransformersEngine
from tests.conftest import Command

from .standin import KEY as STAND_IN_KEY
from .standin import standing_in
from .test_contract import chat, never, told
from .vllm_standin import VllmStandIn, vllm_standing_in


@pytest.fixture(autouse=True)
def _no_key(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(KEY, raising=False)


@pytest.fixture
def vllm(engine: TransformersEngine, tiny_models: dict[str, Model]) -> VllmStandIn:
    return VllmStandIn(engine, tiny_models)


def test_only_what_was_asked_for_is_answered(engine: TransformersEngine, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(KEY, STAND_IN_KEY)
    with standing_in(engine) as (url, seen, _):
        remote = open_openai(url, ["run/one"])
        assert remote.models() == ["run/one"]
        assert told(chat(remote, "run/one", "hello")) == told(chat(engine, "run/one", "hello"))
        for ask in (lambda: chat(remote, "base", "hello"), lambda: remote.embed("base", ["hello"], never)):
            with pytest.raises(UnknownModel, match="no model 'base' here; this server answers as run/one"):
                ask()
        with pytest.raises(UnknownModel, match=r"'gpt'.*base, run/one, run/two"):
            open_openai(url, ["run/one", "gpt"])
        assert {each["headers"]["Authorization"] for each in seen} == {f"Bearer {STAND_IN_KEY}"}
        remote.close()


def test_adapters_are_loaded_once_under_names_that_hold_their_digest(
    vllm: VllmStandIn, engine: TransformersEngine, tiny_models: dict[str, Model]
) -> None:
    loaded = Loaded()
    with vllm_standing_in(vllm) as url:
        remotes = [open_vllm(url, [*tiny_models], tiny_models.__getitem__, loaded) for _ in range(2)]
        for remote in remotes:  # the second asks for the same adapters still, when the first is closed
            answers = {name: told(chat(remote, name, "hello")) for name in tiny_models}
            assert answers == {name: told(chat(engine, name, "hello")) for name in tiny_models}
            assert len(vllm.loras) == 2
            remote.close()
            remote.close()
    assert vllm.loras == {}
    loads = [each["body"] for each in vllm.asked if each["path"] == "/v1/load_lora_adapter"]
    names = [vllm_name(tiny_models[name]) for name in ("run/one", "run/two")]
    paths = [str(tiny_models[name].adapter) for name in ("run/one", "run/two")]
    assert loads == [{"lora_name": n, "lora_path": p} for n, p in zip(names, paths, strict=True)]
    asked = {each["body"]["model"] for each in vllm.asked if each["path"] == "/v1/chat/completions"}
    assert asked == {"served-base", *names}


def test_only_adapters_that_were_loaded_here_are_unloaded(vllm: VllmStandIn, tiny_models: dict[str, Model]) -> None:
    name = vllm_name(tiny_models["run/one"])
    vllm.loras[name] = str(tiny_models["run/one"].adapter)  # as --lora-modules names it
    with vllm_standing_in(vllm) as url:
        remote = open_vllm(url, ["run/one", "run/two"], tiny_models.__getitem__, Loaded())
        assert len(vllm.loras) == 2
        remote.close()
        assert [*vllm.loras] == [name]
        elsewhere = replace(tiny_models["run/one"], path=Path("/another/base"), adapter_digest="0" * 64)
        models = {**tiny_models, "x": elsewhere}
        with pytest.raises(Refusal, match="does not serve"):  # the one that was loaded before it goes again
            open_vllm(url, ["run/two", "x"], models.__getitem__, Loaded())
        assert [*vllm.loras] == [name]
        remote = open_vllm(url, ["run/two"], tiny_models.__getitem__, Loaded())
    remote.close()  # the server has ended before


def test_another_adapter_has_another_name(tiny_models: dict[str, Model]) -> None:
    one = replace(tiny_models["run/one"], name="run/a b")
    again = replace(one, adapter_digest="0" * 64)
    assert vllm_name(one).startswith("run-a-b-")
    assert len(vllm_name(one)) == len("run-a-b-") + 8
    assert vllm_name(one) != vllm_name(again)
    assert vllm_name(one) != vllm_name(replace(one, digest="0" * 64))


def test_names_that_vllm_tells_need_nothing_of_ours(vllm: VllmStandIn, engine: TransformersEngine) -> None:
    def resolve(name: str) -> Model:
        raise AssertionError(name)

    with vllm_standing_in(vllm) as url:
        remote = open_vllm(url, ["served-base"], resolve, Loaded())
        assert told(chat(remote, "served-base", "hello")) == told(chat(engine, "base", "hello"))
        remote.close()


def test_what_vllm_cannot_serve_is_told_with_the_command(vllm: VllmStandIn, tiny_models: dict[str, Model]) -> None:
    vllm.updating = False
    elsewhere = replace(tiny_models["run/one"], path=Path("/another/base"))
    with vllm_standing_in(vllm) as url:
        with pytest.raises(Refusal, match=r"takes no adapters while it runs; install it .*--lora-modules"):
            open_vllm(url, ["run/one"], tiny_models.__getitem__, Loaded())
        with pytest.raises(Refusal, match=r"does not serve .*; install it with .* serve /another/base"):
            open_vllm(url, ["x"], lambda _: elsewhere, Loaded())
        with pytest.raises(Refusal, match=r"does not serve .*; install it with .* serve /another/base"):
            open_vllm(url, ["x"], lambda _: replace(elsewhere, adapter=None), Loaded())


def test_vllms_reason_is_told(vllm: VllmStandIn, tiny_models: dict[str, Model]) -> None:
    vllm.fault = "LoRA rank 4 is greater than max_lora_rank 2."
    with vllm_standing_in(vllm) as url, pytest.raises(Refusal, match=f"does not load the adapter .*: {vllm.fault}"):
        open_vllm(url, ["run/one"], tiny_models.__getitem__, Loaded())


def test_a_wrong_key_is_told(vllm: VllmStandIn, tiny_models: dict[str, Model], monkeypatch: pytest.MonkeyPatch) -> None:
    vllm.key = "right"
    with vllm_standing_in(vllm) as url:
        monkeypatch.setenv(KEY, "wrong")
        with pytest.raises(Refusal, match="does not accept the key"):
            open_vllm(url, ["base"], tiny_models.__getitem__, Loaded())
        monkeypatch.setenv(KEY, "right")
        open_vllm(url, ["base"], tiny_models.__getitem__, Loaded()).close()


def test_the_command_that_starts_vllm(tiny_models: dict[str, Model], tmp_path: Path) -> None:
    one, two = tiny_models["run/one"], tiny_models["run/two"]
    told = how_to_start([tiny_models["base"], one, two])
    command = told.partition("start it with `")[2].partition("`")[0]
    assert f'vllm serve {one.path} --host 127.0.0.1 --port 8000 --api-key "$CARRARA_ENGINE_KEY"' in command
    assert "export CARRARA_ENGINE_KEY=$(" in told
    assert "--enable-lora --max-loras 2 --max-lora-rank 8 --lora-modules" in command
    assert command.endswith(f"{vllm_name(one)}={one.adapter} {vllm_name(two)}={two.adapter}")
    assert "lora-modules" not in how_to_start([tiny_models["base"]])
    (tmp_path / "adapter_config.json").write_text(json.dumps({"r": 4, "rank_pattern": {"q_proj": 40}}))
    assert "--max-lora-rank 64 " in how_to_start([replace(one, adapter=tmp_path)])
    with pytest.raises(Refusal, match="one base"):
        how_to_start([one, replace(two, path=tmp_path)])
    with pytest.raises(Refusal, match="vLLM has an environment of its own, so install it with"):
        open_vllm(None, ["run/one"], tiny_models.__getitem__, Loaded())
    assert "vllm" not in sys.modules


@pytest.mark.parametrize(
    ("engine_option", "sentence"),
    [
        ("openai", "names no server; write openai=http://HOST:PORT/v1"),
        ("openai=localhost", "names no server"),
        ("vllm=", "names no server"),
        ("vllm=http:///v1", "names no server"),
        ("openai=http://localhost:abc/v1", "names no server"),
        ("openai=http://[x/v1", "names no server"),
        ("openai=http://me:sesame@127.0.0.1:9/v1", "give the key in the environment variable CARRARA_ENGINE_KEY"),
        ("openai=http://127.0.0.1:9/v1?api-key=sesame", "has a name, a password or a query in it"),
        ("llamacpp=http://localhost/v1", "there is no engine 'llamacpp=http://localhost/v1'"),
        ("gpu", "--engine takes auto, transformers, llamacpp, openai=URL, vllm or vllm=URL"),
        ("openai=http://127.0.0.1:9/v1", "check the URL"),
    ],
)
@pytest.mark.parametrize("verb", ["serve", "chat"])
def test_an_engine_that_cannot_be_is_refused(carrara: Command, verb: str, engine_option: str, sentence: str) -> None:
    options = ["--port", "0"] if verb == "serve" else ["--once", "hello"]
    result = carrara(verb, "m", *options, "--engine", engine_option)
    assert result.returncode == 2
    assert sentence in " ".join(result.stderr.split())
    assert "Traceback" not in result.stderr
    assert "sesame" not in result.stderr


def test_chat_talks_to_another_server(
    carrara: Command, engine: TransformersEngine, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(KEY, STAND_IN_KEY)
    with standing_in(engine) as (url, _, _):
        options = ["--engine", f"openai={url}", "--temperature", "0", "--max-tokens", "24", "--json"]
        result = carrara("chat", "run/one", "--once", "hello", "--compare", "run/two", *options)
    assert result.returncode == 0, result.stderr
    answer = json.loads(result.stdout)
    assert answer["answer"] == told(chat(engine, "run/one", "hello"))[0]
    assert answer["compared"]["answer"] == told(chat(engine, "run/two", "hello"))[0]
