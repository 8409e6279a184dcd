"""Models and threads that come and go while a server answers: nobody who asks notices."""

from __future__ import annotations

import os
import shutil
import signal
import threading
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from carrara.errors import Refusal
from carrara.models import Model
from carrara.progress import Silent
from carrara.serve import engines
from carrara.serve.engine import Unavailable, UnknownModel
from carrara.serve.engines import LlamaCppBases, open_engine
from carrara.workspace import Workspace

from .asking import MESSAGES, openai_of, served
from .test_contract import chat, never, told
from .test_engines import exported  # noqa: F401  # the fixture
from .tiny import make_base

pytestmark = pytest.mark.usefixtures("exported")
NAMES = ["base", "run/one", "run/two"]


@pytest.fixture
def bases(
    workspace: Workspace, tiny_models: dict[str, Model], monkeypatch: pytest.MonkeyPatch
) -> Iterator[LlamaCppBases]:
    """llama.cpp with the base and one adapter."""
    monkeypatch.setattr(engines, "free_threads", lambda: 1)
    engine = open_engine("llamacpp", {name: tiny_models[name] for name in NAMES[:2]}, workspace, "auto", Silent())
    assert isinstance(engine, LlamaCppBases)
    yield engine
    engine.close()


def pids(engine: LlamaCppBases) -> list[int]:
    return [relay.engine.process.pid for relay in engine._relays.values() if relay.engine.process]


def runs(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().split()[2] != "Z"
    except FileNotFoundError:
        return False


def test_an_adapter_is_added_and_no_request_fails(bases: LlamaCppBases, tiny_models: dict[str, Model]) -> None:
    """Four clients ask without a pause, through the gateway, while an adapter is added, and go on for a while."""
    alone = {name: told(chat(bases, name, "hello", max_tokens=16))[0] for name in NAMES[:2]}
    assert alone["base"] != alone["run/one"]
    answers: list[tuple[str, Any]] = []
    enough = threading.Event()

    def ask(client: Any, name: str) -> None:
        while not enough.is_set():
            try:
                asked = client.chat.completions.create(model=name, messages=MESSAGES, temperature=0, max_tokens=16)
                answers.append((name, asked.choices[0].message.content))
            except Exception as error:
                answers.append((name, error))

    (before,) = pids(bases)
    with served(bases, at_once=4) as url:
        client = openai_of(url)
        threads = [threading.Thread(target=ask, args=(client, name)) for name in NAMES[:2] * 2]
        for thread in threads:
            thread.start()
        _wait(lambda: len(answers) > 8)
        seen = len(answers)
        bases.add({"run/two": tiny_models["run/two"]})
        during = len(answers) - seen
        two = client.chat.completions.create(model="run/two", messages=MESSAGES, temperature=0, max_tokens=16)
        _wait(lambda: len(answers) > seen + during + 8)
        enough.set()
        for thread in threads:
            thread.join()
        listed = [each.id for each in client.models.list()]
    assert during > 0
    assert [(name, answer) for name, answer in answers if answer != alone[name]] == []
    assert two.choices[0].message.content not in alone.values()
    assert listed == NAMES
    _wait(lambda: not runs(before))


def test_another_base_is_added(bases: LlamaCppBases, tmp_path: Path) -> None:
    (before,) = pids(bases)
    other = replace(make_base(tmp_path / "other", seed=9), name="other")
    bases.add({"other": other})
    assert bases.models() == ["base", "run/one", "other"]
    assert len({told(chat(bases, name, "hello"))[0] for name in bases.models()}) == 3
    assert len(bases.embed("other", ["hello"], never).vectors) == 1
    now = pids(bases)
    assert now[0] == before  # which answers on
    bases.use(3)
    assert [relay.engine.threads for relay in bases._relays.values()] == [1, 1]  # which share those that are free
    assert pids(bases) == now


def test_what_cannot_be_added_changes_nothing(
    bases: LlamaCppBases,
    tmp_path: Path,
    tiny_models: dict[str, Model],
    exported: list[str],  # noqa: F811
) -> None:
    before = pids(bases)
    exported.append("other")
    other = replace(make_base(tmp_path / "other", seed=9), name="other")
    for models in ({"other": other}, {"run/two": tiny_models["run/two"], "other": other}):
        with pytest.raises(Refusal, match="other cannot be a GGUF file"):
            bases.add(models)
    assert (bases.models(), pids(bases)) == (["base", "run/one"], before)


def test_a_job_beside_it_gives_threads_back_and_takes_them(bases: LlamaCppBases) -> None:
    """The next answers are computed with those that are free; one that is under way ends as it began."""
    whole = told(chat(bases, "run/one", "hello", max_tokens=60))
    (before,) = pids(bases)
    (relay,) = bases._relays.values()
    under_way = bases.answer(_request("run/one", 60), never)
    first = next(under_way)
    bases.use(2)
    assert relay.engine.threads == 2
    assert pids(bases) != [before]
    assert runs(before)
    assert told(chat(bases, "run/one", "hello", max_tokens=60)) == whole
    assert told([first, *under_way]) == whole
    _wait(lambda: not runs(before))
    relay.engine._withdrawn.add("run/one")
    bases.use(1)
    assert relay.engine.threads == 1
    assert bases.models() == ["base"]  # another process makes no wrong model right
    now = pids(bases)
    bases.use(1)
    assert pids(bases) == now  # nothing is started for nothing


def test_how_busy_the_machine_is_is_looked_at_all_the_time(
    workspace: Workspace, tiny_models: dict[str, Model], monkeypatch: pytest.MonkeyPatch
) -> None:
    """One look alone changes nothing: what it saw may be over before another process has started."""
    looks: list[int] = []
    free = iter([4, 4, 1, 4, 4, 2, 2])
    monkeypatch.setattr(engines, "free_threads", lambda: looks.append(next(free, 2)) or looks[-1])
    monkeypatch.setattr(engines, "_LOOK_EVERY", 0.01)
    used: list[int] = []
    monkeypatch.setattr(LlamaCppBases, "use", lambda self, threads: used.append(threads))
    engine = open_engine("llamacpp", {"base": tiny_models["base"]}, workspace, "auto", Silent())
    _wait(lambda: len(looks) > 8)
    engine.close()
    assert (used[0], used[-1], set(used)) == (4, 2, {4, 2})


def test_a_withdrawn_model_is_unavailable_and_not_unknown(
    bases: LlamaCppBases, tiny_models: dict[str, Model], tmp_path: Path
) -> None:
    """Its file is overwritten with another adapter's; also a process that takes over finds out."""
    other = replace(make_base(tmp_path / "other", seed=9), name="other")
    bases.add({"other": other, "run/two": tiny_models["run/two"]})
    first = next(iter(bases._relays.values()))
    held = first.engine._voices
    one, two = held["run/one"].adapter, held["run/two"].adapter
    assert one is not None
    assert two is not None
    shutil.copyfile(two, one)
    first.replace(lambda engine: engine.renewed())
    assert bases.models() == ["base", "run/two", "other"]
    for ask in (lambda: chat(bases, "run/one", "hello"), lambda: bases.embed("run/one", ["hello"], never)):
        with pytest.raises(Unavailable, match="run/one does not answer as it did"):
            ask()
    with pytest.raises(UnknownModel):
        chat(bases, "gpt", "hello")


def test_a_process_that_cannot_be_started_anew_is_unavailable(bases: LlamaCppBases) -> None:
    (relay,) = bases._relays.values()
    base = Path(relay.engine._settings.base)
    whole = base.read_bytes()
    base.write_bytes(whole[: len(whole) // 2])
    os.kill(pids(bases)[0], signal.SIGKILL)
    _wait(lambda: not runs(pids(bases)[0]))
    with pytest.raises(Unavailable, match=r"llama.cpp cannot load"):
        chat(bases, "base", "hello")
    base.write_bytes(whole)
    assert chat(bases, "base", "hello")[-1].finish_reason


def _request(name: str, count: int) -> Any:
    from carrara.data.example import Message
    from carrara.serve.engine import ChatRequest

    return ChatRequest(model=name, messages=(Message("user", "hello"),), max_tokens=count, temperature=0.0)


def _wait(holds: Any, seconds: float = 20.0) -> None:
    end = time.monotonic() + seconds
    while not holds():
        assert time.monotonic() < end, "it did not come true in time"
        time.sleep(0.02)
