"""llama.cpp in a process of its own: closed to others, gone when it should be, back when it should not."""

from __future__ import annotations

import json
import os
import random
import re
import shutil
import signal
import stat
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from carrara.data.example import Message
from carrara.errors import Refusal
from carrara.models import Model
from carrara.models.load import load_model
from carrara.serve.engine import ChatRequest, Interrupted, Piece, TokenLogprob
from carrara.serve.fingerprint import Fingerprint, agree
from carrara.serve.llamacpp_engine import LlamaCppEngine, Voice
from carrara.serve.llamacpp_process import LlamaCppProcess, Settings, free_threads
from carrara.serve.reader import reader_in, reader_of
from carrara.serve.schemas import check_schema
from carrara.serve.transformers_engine import TransformersEngine

from .test_contract import chat, told
from .tiny import CONTEXT, model_at


@pytest.fixture
def fresh(tiny_ggufs: dict[str, Path], tiny_voices: dict[str, Voice]) -> Iterator[LlamaCppEngine]:
    engine = LlamaCppEngine(tiny_ggufs["base"], tiny_voices, threads=1, exact=True)
    yield engine
    engine.close()


def process_of(engine: LlamaCppEngine) -> LlamaCppProcess:
    assert engine.process is not None
    return engine.process


def wait_until(holds: Callable[[], bool], seconds: float = 10.0) -> None:
    end = time.monotonic() + seconds
    while not holds():
        assert time.monotonic() < end, "it did not come true in time"
        time.sleep(0.02)


def runs(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().split()[2] != "Z"
    except FileNotFoundError:
        return False


def test_the_socket_is_closed_to_others(fresh: LlamaCppEngine) -> None:
    folder = process_of(fresh).folder
    assert stat.S_IMODE(folder.stat().st_mode) == 0o700
    assert stat.S_IMODE((folder / "engine.sock").stat().st_mode) & 0o077 == 0


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="reads /proc")
def test_the_process_knows_no_secrets_and_listens_nowhere_else(
    tiny_ggufs: dict[str, Path], tiny_voices: dict[str, Voice], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HF_TOKEN", "hf_secret")
    engine = LlamaCppEngine(tiny_ggufs["base"], tiny_voices, threads=1)
    pid = process_of(engine).pid
    try:
        environment = Path(f"/proc/{pid}/environ").read_bytes()
        limits = Path(f"/proc/{pid}/limits").read_text()
        held = {os.readlink(each) for each in Path(f"/proc/{pid}/fd").iterdir()}
        sockets = {each.removeprefix("socket:[").rstrip("]") for each in held if each.startswith("socket")}
        internet = "".join(Path(f"/proc/{pid}/net/{kind}").read_text() for kind in ("tcp", "tcp6", "udp", "udp6"))
        command = Path(f"/proc/{pid}/cmdline").read_bytes()
    finally:
        engine.close()
    assert b"hf_secret" not in environment
    assert environment.strip(b"\0") in (b"", b"LC_CTYPE=C.UTF-8")
    assert "Max core file size        0                    0" in limits
    assert "Max file size             0                    0" in limits
    assert sockets
    assert not [row for row in internet.splitlines() if len(row.split()) > 9 and row.split()[9] in sockets]
    assert command.count(b"\0") == 3  # no key, no path of a model


def test_a_foreigner_without_the_key_gets_nothing(fresh: LlamaCppEngine) -> None:
    import httpx2

    transport = httpx2.HTTPTransport(uds=str(process_of(fresh).folder / "engine.sock"))
    with httpx2.Client(transport=transport, base_url="http://engine") as client:
        assert client.post("/completion", json={"prompt": [1], "n_predict": 1}).status_code == 401


def test_close_leaves_no_process_and_no_folder(tiny_ggufs: dict[str, Path], tiny_voices: dict[str, Voice]) -> None:
    engine = LlamaCppEngine(tiny_ggufs["base"], tiny_voices, threads=1)
    process = process_of(engine)
    engine.close()
    assert not runs(process.pid)
    assert not process.folder.exists()
    with pytest.raises(Interrupted):
        chat(engine, "base", "hello")
    assert process_of(engine) is process


def test_the_process_goes_with_a_parent_that_is_killed(tiny_ggufs: dict[str, Path]) -> None:
    program = (
        "import sys, time\n"
        "from carrara.serve.llamacpp_process import LlamaCppProcess, Settings\n"
        "process = LlamaCppProcess(Settings(sys.argv[1], (), 256, 1, 1, False))\n"
        "process.wait_until_ready()\n"
        "print(process.pid, process.folder, flush=True)\n"
        "time.sleep(60)\n"
    )
    command = [sys.executable, "-c", program, str(tiny_ggufs["base"])]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as parent:
        assert parent.stdout is not None
        pid, folder = parent.stdout.readline().split()
        assert runs(int(pid))
        parent.kill()
    wait_until(lambda: not runs(int(pid)))
    wait_until(lambda: not Path(folder).exists())


def test_a_killed_process_is_started_anew(fresh: LlamaCppEngine, engine: TransformersEngine) -> None:
    """The answer under way fails with a sentence; the next is right, for whomever it is."""
    request = ChatRequest(model="base", messages=(Message("user", "hello"),), max_tokens=200, temperature=0.0)
    before = process_of(fresh)
    running = fresh.answer(request, lambda: False)
    next(running)
    os.kill(before.pid, signal.SIGSTOP)  # so that it surely dies while it is asked
    killer = threading.Timer(0.3, os.kill, (before.pid, signal.SIGKILL))
    killer.start()
    with pytest.raises(Refusal, match=r"ended before the answer did; .* ask again"):
        list(running)
    killer.join()
    assert told(chat(fresh, "run/one", "hello")) == told(chat(engine, "run/one", "hello"))
    assert process_of(fresh).pid != before.pid
    assert not before.folder.exists()


def test_a_process_that_died_idle_is_not_missed(fresh: LlamaCppEngine, engine: TransformersEngine) -> None:
    os.kill(process_of(fresh).pid, signal.SIGKILL)
    assert told(chat(fresh, "base", "hello")) == told(chat(engine, "base", "hello"))


@pytest.mark.parametrize(
    ("spoil", "sentence"),
    [
        (lambda data: data[: len(data) // 2], "llama.cpp cannot load b.gguf: "),
        (lambda data: data[:20], "is not a GGUF file"),
        (lambda data: b"GGML" + data[4:], "is not a GGUF file"),
        (lambda data: data[:8] + (1 << 62).to_bytes(8, "little") + data[16:], "damaged GGUF header"),
        (lambda data: data[:16] + (1 << 40).to_bytes(8, "little") + data[24:], "damaged GGUF header"),
        (lambda data: data[:100] + b"\xff" * 400 + data[500:], "llama.cpp cannot load b.gguf: "),
    ],
)
def test_a_damaged_file_is_refused_with_a_sentence(
    tmp_path: Path, tiny_ggufs: dict[str, Path], spoil: Callable[[bytes], bytes], sentence: str
) -> None:
    path = tmp_path / "b.gguf"
    path.write_bytes(spoil(tiny_ggufs["base"].read_bytes()))
    with pytest.raises(Refusal, match=sentence):
        LlamaCppProcess(Settings(str(path), (), CONTEXT, 1, 1, False)).wait_until_ready()


def test_a_damaged_adapter_is_refused_and_leaves_nothing(
    tmp_path: Path, tiny_ggufs: dict[str, Path], tiny_voices: dict[str, Voice], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    path = tmp_path / "a.gguf"
    path.write_bytes(tiny_ggufs["run/one"].read_bytes()[:-3000])
    voices = {"one": Voice(tiny_voices["run/one"].reader, path)}
    with pytest.raises(Refusal, match=r"llama.cpp cannot load b.gguf with a.gguf: .*make the files again"):
        LlamaCppEngine(tiny_ggufs["base"], voices, threads=1)
    assert [each.name for each in tmp_path.iterdir()] == ["a.gguf"]


def test_an_adapter_that_no_longer_speaks_is_withdrawn(
    tiny_ggufs: dict[str, Path], tiny_voices: dict[str, Voice], tmp_path: Path, engine: TransformersEngine
) -> None:
    """Its file is overwritten with another adapter's, which the next process loads."""
    path = Path(shutil.copyfile(tiny_ggufs["run/one"], tmp_path / "one.gguf"))
    voices = {**tiny_voices, "run/one": Voice(tiny_voices["run/one"].reader, path)}
    changed = LlamaCppEngine(tiny_ggufs["base"], voices, threads=1, exact=True)
    try:
        assert changed.models() == ["base", "run/one", "run/two"]
        shutil.copyfile(tiny_ggufs["run/two"], path)
        os.kill(process_of(changed).pid, signal.SIGKILL)
        assert told(chat(changed, "base", "hello")) == told(chat(engine, "base", "hello"))
        for _ in range(2):
            with pytest.raises(Refusal, match="run/one does not answer as it did when it was checked"):
                chat(changed, "run/one", "hello")
        assert changed.models() == ["base", "run/two"]
        assert told(chat(changed, "run/two", "hello")) == told(chat(engine, "run/two", "hello"))
    finally:
        changed.close()


def test_a_reference_of_the_caller_is_held_to(
    tiny_ggufs: dict[str, Path], tiny_voices: dict[str, Voice], llamacpp: LlamaCppEngine
) -> None:
    right = {name: llamacpp.fingerprints[name].tokens for name in ("base", "run/one")}
    assert right["base"] != right["run/one"]
    base, one = tiny_voices["base"], tiny_voices["run/one"]
    voices = {
        "base": Voice(base.reader, None, right["base"]),
        "one": Voice(one.reader, one.adapter, right["run/one"]),
        "swapped": Voice(one.reader, one.adapter, right["base"]),
    }
    held = LlamaCppEngine(tiny_ggufs["base"], voices, threads=1, exact=True)
    try:
        assert held.models() == ["base", "one"]
    finally:
        held.close()


def test_models_are_looked_at_again_at_intervals(
    tiny_ggufs: dict[str, Path], tiny_voices: dict[str, Voice], monkeypatch: pytest.MonkeyPatch
) -> None:
    looked: list[str] = []
    fingerprint = LlamaCppEngine.fingerprint
    monkeypatch.setattr(
        LlamaCppEngine, "fingerprint", lambda self, name, slot: (looked.append(name), fingerprint(self, name, slot))[1]
    )
    names = list(tiny_voices)
    for check_every, again in ((3600.0, []), (0.0, ["base", "base"])):
        looked.clear()
        engine = LlamaCppEngine(tiny_ggufs["base"], tiny_voices, threads=1, check_every=check_every)
        chat(engine, "base", "hello")
        chat(engine, "base", "hello")
        engine.close()
        assert looked == names + again


def test_fingerprints_differ_by_more_than_noise() -> None:
    def printed(tokens: tuple[int, ...], *pairs: tuple[float, float]) -> Fingerprint:
        return Fingerprint(tokens, tuple(TokenLogprob("", pair[0], (("a", pair[0]), ("b", pair[1]))) for pair in pairs))

    before = printed((1, 2), (-0.5, -2.0), (-0.5, -2.0))
    assert agree(before.tokens, before, printed((1, 2), (-0.55, -2.0), (-0.45, -2.0)))
    assert not agree(before.tokens, before, printed((1, 2), (-0.5, -2.0), (-0.7, -2.0)))
    assert not agree(before.tokens, before, printed((1, 3), (-0.5, -2.0), (-0.5, -2.0)))
    close = printed((1, 2), (-0.5, -2.0), (-1.0, -1.01))
    assert agree(close.tokens, close, printed((1, 3), (-0.5, -2.0), (-1.0, -1.01)))


def test_several_answers_are_under_way_at_once(llamacpp: LlamaCppEngine) -> None:
    """Four slots: while three wait for whoever reads them, another is written."""
    request = ChatRequest(model="base", messages=(Message("user", "hello"),), max_tokens=50, temperature=0.0)
    paused = [llamacpp.answer(request, lambda: False) for _ in range(3)]
    for each in paused:
        next(each)
    assert told(chat(llamacpp, "run/two", "hello", max_tokens=3))[3] == 3
    texts = {"".join(piece.text for piece in each) for each in paused}
    assert len(texts) == 1


def test_as_it_is_served_no_model_answers_for_another(
    tiny_ggufs: dict[str, Path], tiny_voices: dict[str, Voice]
) -> None:
    """The probe of llama.cpp's issue 26207, which found 25 of 150 answers wrong."""
    served = LlamaCppEngine(tiny_ggufs["base"], tiny_voices, threads=1)
    texts = ["hello", "where is the quarry?", "It is in Italy.", "a b c", "hello " * 20]
    alone = {(name, text): told(chat(served, name, text, max_tokens=10)) for name in tiny_voices for text in texts}
    jobs = [*alone] * 10
    random.Random(1).shuffle(jobs)
    with ThreadPoolExecutor(8) as threads:
        answers = list(threads.map(lambda job: told(chat(served, *job, max_tokens=10)), jobs))
    served.close()
    assert len(set(alone.values())) == len(alone)
    assert len(answers) == 150
    assert [job for job, answer in zip(jobs, answers, strict=True) if answer != alone[job]] == []


def test_a_conversation_goes_on_where_it_was_read_to(fresh: LlamaCppEngine, monkeypatch: pytest.MonkeyPatch) -> None:
    """The second turn reads only what is new, in the slot of the first."""
    read: list[int] = []
    ask = LlamaCppProcess.ask

    def asked(self: LlamaCppProcess, body: dict[str, Any]) -> dict[str, Any]:
        found = ask(self, {**body, "response_fields": [*body["response_fields"], "timings"]})
        read.append(found["timings"]["prompt_n"])
        return found

    monkeypatch.setattr(LlamaCppProcess, "ask", asked)
    first = (Message("user", "hello " * 20),)

    def ask_for(messages: tuple[Message, ...]) -> list[Piece]:
        request = ChatRequest(model="base", messages=messages, max_tokens=8, temperature=0.0)
        return list(fresh.answer(request, lambda: False))

    answer = told(ask_for(first))
    whole = sum(read)
    read.clear()
    second = told(ask_for((*first, Message("assistant", answer[0]), Message("user", "and?"))))
    assert (second[2] or 0) > (answer[2] or 0)
    assert sum(read) < whole / 2 + 24


def test_reading_a_long_prompt_can_be_given_up(fresh: LlamaCppEngine, monkeypatch: pytest.MonkeyPatch) -> None:
    read: list[int] = []
    ask = LlamaCppProcess.ask
    monkeypatch.setattr(
        LlamaCppProcess, "ask", lambda self, body: (read.append(len(body["prompt"])), ask(self, body))[1]
    )
    text = "where is the marble of Italy? " * 26
    assert chat(fresh, "run/two", text, cancelled=lambda: bool(read)) == []
    assert read == [64]
    read.clear()
    whole = chat(fresh, "run/two", text, max_tokens=2)[-1].prompt_tokens or 0
    assert 128 + 64 < whole < 128 + 128
    assert read == [128, whole, whole + 1]  # what the slot has read is not read again, and chunks grow


def test_schemas_are_obeyed(llamacpp: LlamaCppEngine) -> None:
    schema = {
        "type": "object",
        "properties": {"a": {"type": "boolean"}, "b": {"enum": ["Carrara", "Tuscany"]}},
        "required": ["a", "b"],
        "additionalProperties": False,
    }
    text, reason, _, count = told(
        chat(llamacpp, "run/one", "hello", schema=schema, max_tokens=100, temperature=1.0, seed=2)
    )
    assert reason == "stop"
    value = json.loads(text)
    assert isinstance(value["a"], bool)
    assert value["b"] in ("Carrara", "Tuscany")
    assert 0 < (count or 0) < 100


@pytest.mark.parametrize("part", ["a?", "a*", "a{0,3}"])
def test_a_schema_within_the_limits_is_not_forgotten(llamacpp: LlamaCppEngine, part: str) -> None:
    """The longest run of parts that may be missing which a client can send."""
    schema = {"type": "string", "pattern": f"^{part * 200}$"}
    check_schema(schema, "response_format")
    for seed in range(5):
        text = told(chat(llamacpp, "base", "hello", schema=schema, max_tokens=30, temperature=1.0, seed=seed))[0]
        assert re.fullmatch('"a*"?', text)


def test_an_answer_that_left_its_schema_is_none(llamacpp: LlamaCppEngine) -> None:
    """llama.cpp forgets this grammar after the first token, without a word."""
    schema = {"type": "string", "pattern": "^" + "a?" * 500 + "$"}
    refused = 0
    for seed in range(20):
        try:
            given = chat(llamacpp, "base", "hello", schema=schema, max_tokens=100, temperature=1.0, seed=seed)
        except Refusal:
            refused += 1
            continue
        text, reason, *_ = told(given)
        assert reason == "length" or isinstance(json.loads(text), str)
    assert refused


@pytest.mark.parametrize("schema", [{"type": "foo"}, {"$ref": "http://example.org/x"}, {"$ref": "#/nowhere"}])
def test_a_schema_that_cannot_be_held_is_refused(llamacpp: LlamaCppEngine, schema: dict[str, Any]) -> None:
    with pytest.raises(Refusal, match="the schema is none that this engine can hold"):
        chat(llamacpp, "base", "hello", schema=schema)


@pytest.mark.parametrize("depth", [100, 900, 5000])
def test_a_deep_schema_harms_nobody(llamacpp: LlamaCppEngine, depth: int) -> None:
    schema: dict[str, Any] = {}
    for _ in range(depth):
        schema = {"type": "object", "properties": {"a": schema}, "required": ["a"]}
    before = process_of(llamacpp).pid
    with pytest.raises(Refusal, match="the schema"):
        chat(llamacpp, "base", "hello", schema=schema)
    assert told(chat(llamacpp, "base", "hello", max_tokens=3))[3] == 3
    assert process_of(llamacpp).pid == before


def test_the_models_own_end_tokens_end_an_answer_and_no_others(
    tmp_path: Path, tiny_ggufs: dict[str, Path], tiny_models: dict[str, Model], tiny_voices: dict[str, Voice]
) -> None:
    """llama.cpp stops at what it takes for an end; what the model's files name is what counts."""
    reader = tiny_voices["base"].reader
    for ends in (frozenset({1, 300}), frozenset[int]()):
        engine = LlamaCppEngine(tiny_ggufs["base"], {"m": Voice(replace(reader, ends=ends))}, threads=1, exact=True)
        pieces = chat(engine, "m", "where is the quarry?", max_tokens=60)
        engine.close()
        assert pieces[-1].finish_reason == ("stop" if ends else "length")


@pytest.mark.parametrize("ends", [None, 5, [1, 7]])
def test_a_reader_without_weights_is_that_of_the_loaded_model(
    tmp_path: Path, tiny_models: dict[str, Model], ends: Any
) -> None:
    folder = Path(shutil.copytree(tiny_models["base"].path, tmp_path / "model"))
    if ends is None:
        (folder / "generation_config.json").unlink()
    else:
        (folder / "generation_config.json").write_text(json.dumps({"eos_token_id": ends}))
    model = model_at(folder, None)
    right, found = reader_in(load_model(model, "float32")), reader_of(model)
    assert (found.context, found.ends) == (right.context, right.ends)


def test_threads_leave_room_for_what_is_busy(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("os.sched_getaffinity", lambda _: range(8), raising=False)
    monkeypatch.setattr("psutil.cpu_count", lambda: 8)
    for percent, threads in ((2.0, 7), (14.0, 7), (30.0, 6), (90.0, 1), (100.0, 1)):
        monkeypatch.setattr("psutil.cpu_percent", lambda _, percent=percent: percent)
        assert free_threads() == threads
