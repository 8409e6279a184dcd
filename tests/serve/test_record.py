"""What is told of requests: their ids, the records for an audit, the figures, the log."""

from __future__ import annotations

import asyncio
import hashlib
import json
import re
from collections.abc import AsyncIterator
from typing import Any

import pytest
from prometheus_client.parser import text_string_to_metric_families
from starlette.testclient import TestClient

from carrara.serve.answered import Answered
from carrara.serve.answering import _noted
from carrara.serve.engine import Piece
from carrara.serve.gateway import build_app
from carrara.serve.logs import log_line
from carrara.serve.record import Record, Traffic

from .asking import CHAT, HELLO, client_of, error_of
from .scripted import Scripted


def test_requests_have_ids() -> None:
    client = client_of()
    assert client.get("/healthz", headers={"X-Request-Id": "my-id.7"}).headers["x-request-id"] == "my-id.7"
    made = {client.get(path).headers["x-request-id"] for path in ("/healthz", "/v1/models", "/nowhere")}
    assert len(made) == 3
    assert all(re.fullmatch(r"[0-9a-f]{32}", name) for name in made)


@pytest.mark.parametrize("name", ["", "a b", "a\tb", 'a"b', "x" * 65, "ключ"])
def test_ids_that_could_do_harm_are_replaced(name: str) -> None:
    response = client_of().get("/v1/models", headers={"X-Request-Id": name.encode()})  # type: ignore[dict-item]
    assert re.fullmatch(r"[0-9a-f]{32}", response.headers["x-request-id"])


def records_of(*bodies: Any, engine: Scripted | None = None, path: str = CHAT, **headers: str) -> list[Answered]:
    told: list[Answered] = []
    client = client_of(engine, on_answer=told.append)
    for body in bodies:
        client.post(path, json=body, headers=headers)
    return told


def test_long_names_are_whole_up_to_a_bound_and_known_by_their_digest_beyond_it() -> None:
    path = "/models/" + "x" * 500
    assert Record("id", CHAT, model=path).answered().model == path
    assert json.loads(log_line(Record("id", CHAT, model=path)))["model"] == path
    nonsense = "y" * 5000
    told = Record("id", CHAT, model=nonsense).answered().model
    assert told.startswith("y" * 1000 + "… (SHA-256 of the whole name ")
    assert hashlib.sha256(nonsense.encode()).hexdigest() in told
    assert len(told) < 1120


def test_a_record_says_which_engine_answered() -> None:
    (told,) = records_of(HELLO)
    assert told.engine == "scripted m"
    (told,) = records_of({**HELLO, "model": "nobody"})
    assert told.engine == ""
    record = Record("id", CHAT, engine="llamacpp q8_0")
    assert record.answered().engine == json.loads(log_line(record))["engine"] == "llamacpp q8_0"


def test_answers_are_told_of_with_what_was_said() -> None:
    for body in (HELLO, {**HELLO, "stream": True}):
        (told,) = records_of(body)
        assert (told.who, told.route, told.model, told.status, told.reason) == ("key", CHAT, "m", 200, "stop")
        assert (told.prompt_tokens, told.completion_tokens) == (7, 2)
        assert json.loads(told.asked) == HELLO["messages"]
        assert told.said == "Hello wörld"
        assert 0 < told.seconds < 5
    (told,) = records_of({"model": "m", "prompt": "Once"}, path="/v1/completions")
    assert (told.route, json.loads(told.asked), told.said) == ("/v1/completions", "Once", "Hello wörld")
    (told,) = records_of({"model": "m", "input": ["one"]}, path="/v1/embeddings")
    assert (json.loads(told.asked), told.said, told.prompt_tokens, told.reason) == (["one"], "", 3, "stop")


def test_refused_requests_are_told_of_once_too() -> None:
    bodies = [{**HELLO, "model": "gpt"}, {**HELLO, "mood": "?"}, {**HELLO, "max_tokens": 101, "stream": True}]
    told = records_of(*bodies)
    assert [(one.status, one.reason) for one in told] == [
        (404, "model_not_found"),
        (400, "unknown_parameter"),
        (400, "context_length_exceeded"),
    ]


def test_whoever_has_no_key_fills_no_record() -> None:
    assert records_of(HELLO, Authorization="wrong") == []
    assert records_of(HELLO, Origin="http://evil.example") == []
    assert records_of(HELLO, Host="evil.example") == []


async def _pieces(*pieces: Piece) -> AsyncIterator[tuple[int, Piece]]:
    for piece in pieces:
        yield 0, piece


def test_what_a_client_took_before_it_left_is_counted() -> None:
    async def leave_after(taken: int, read: int | None = None, written: int | None = None) -> Record:
        record = Record("id", CHAT)
        noted = _noted(_pieces(*(Piece(word, None, read, written) for word in "abc"), Piece("d", "stop", 7, 5)), record)
        for _ in range(taken):
            await anext(noted)
        await noted.aclose()  # type: ignore[attr-defined]
        return record

    left, stayed = asyncio.run(leave_after(2)), asyncio.run(leave_after(4))
    told = asyncio.run(leave_after(2, 7, 3))  # an engine that tells of each piece what was read and written
    assert (left.completion_tokens, left.said) == (2, "ab")
    assert (told.prompt_tokens, told.completion_tokens) == (7, 3)
    assert (stayed.completion_tokens, stayed.said) == (5, "abcd")


def test_failures_in_between_are_told_of() -> None:
    broken = Scripted(failure=ValueError("private"))
    told = records_of(HELLO, {**HELLO, "stream": True}, engine=broken)
    assert [(one.status, one.reason, one.said) for one in told] == [
        (500, "internal_error", "Hello"),
        (200, "internal_error", "Hello"),
    ]


def test_other_routes_are_not_told_of() -> None:
    told: list[Answered] = []
    client = client_of(on_answer=told.append)
    for path in ("/healthz", "/v1/models", "/metrics", "/nowhere", CHAT):
        client.get(path)
        client.options(path)
    assert told == []


def test_a_request_is_under_way_until_it_is_told_of() -> None:
    traffic = Traffic()
    seen: list[int] = []
    app = build_app(Scripted(), "key", on_answer=lambda _: seen.append(traffic.under_way), traffic=traffic)
    TestClient(app, base_url="http://localhost").post(CHAT, json=HELLO, headers={"Authorization": "key"})
    assert (seen, traffic.under_way) == ([1], 0)


def test_a_record_that_cannot_be_kept_does_not_end_the_answer(caplog: pytest.LogCaptureFixture) -> None:
    def broken(answered: Answered) -> None:
        raise ValueError(answered.said)

    assert client_of(on_answer=broken).post(CHAT, json=HELLO).status_code == 200
    assert "was not recorded: ValueError" in caplog.text
    assert "Hello" not in caplog.text


def figures_of(client: TestClient) -> dict[tuple[str, ...], float]:
    response = client.get("/metrics")
    assert response.headers["content-type"].startswith("text/plain; version=0.0.4")
    return {
        (sample.name, *(value for key, value in sorted(sample.labels.items()) if key != "le")): sample.value
        for family in text_string_to_metric_families(response.text)
        for sample in family.samples
    }


def test_figures() -> None:
    client = client_of()
    for body in (HELLO, {**HELLO, "stream": True}, {**HELLO, "model": "gpt-1"}, {**HELLO, "model": "gpt-2"}):
        client.post(CHAT, json=body)
    for path in ("/nowhere", "/v1/../x"):
        error_of(client.get(path), 404)
    found = figures_of(client)
    assert found["carrara_requests_total", CHAT, "200"] == 2
    assert found["carrara_requests_total", CHAT, "404"] == 2
    assert found["carrara_requests_total", "other", "404"] == 2
    assert found["carrara_tokens_total", "prompt", "m"] == 14
    assert found["carrara_tokens_total", "completion", "m"] == 4
    assert found["carrara_first_token_seconds_count", "m"] == 2
    assert found["carrara_request_seconds_count", CHAT] == 4
    assert (found["carrara_in_flight",], found["carrara_waiting",]) == (1, 0)
    assert not any("gpt" in label for labels in found for label in labels)
    assert figures_of(client_of()).get(("carrara_requests_total", CHAT, "200")) is None  # each has its own


def test_the_log_has_a_line_a_request_and_no_contents(capsys: pytest.CaptureFixture[str]) -> None:
    client = client_of(json_logs=True)
    client.post(CHAT, json=HELLO, headers={"X-Request-Id": "one"})
    client.post(CHAT, json={**HELLO, "model": 'x"\n{', "stream": True})
    client.get("/nowhere?secret")
    lines = [json.loads(line) for line in capsys.readouterr().err.splitlines()]
    assert [(line["route"], line["status"], line["reason"], line["who"]) for line in lines] == [
        (CHAT, 200, "stop", "key"),
        (CHAT, 404, "model_not_found", "key"),
        ("other", 404, "invalid_request", "key"),
    ]
    assert (lines[0]["request"], lines[0]["prompt_tokens"], lines[0]["completion_tokens"]) == ("one", 7, 2)
    assert 0 < lines[0]["first_token_seconds"] <= lines[0]["seconds"]
    assert not {"hello", "Hello wörld", "secret"} & set(map(str, lines[0].values()))
    client_of().post(CHAT, json=HELLO)
    assert capsys.readouterr().err == ""
