"""`/v1/completions`: texts as they stand go to the engine, and come back in the protocol's words."""

from __future__ import annotations

from typing import Any, get_type_hints

import pytest
from openai.types.completion_create_params import CompletionCreateParamsNonStreaming
from starlette.testclient import TestClient

from carrara.serve.engine import TextRequest

from .asking import client_of, error_of, events_of
from .scripted import Scripted

TEXT = "/v1/completions"
ONCE: dict[str, Any] = {"model": "m", "prompt": "Once"}


@pytest.fixture
def client() -> TestClient:
    return client_of()


def test_a_whole_answer(client: TestClient) -> None:
    answer = client.post(TEXT, json=ONCE).json()
    assert answer["object"] == "text_completion"
    assert answer["id"].startswith("cmpl-")
    assert answer["choices"] == [{"index": 0, "text": "Hello wörld", "logprobs": None, "finish_reason": "stop"}]
    assert answer["usage"] == {"prompt_tokens": 7, "completion_tokens": 2, "total_tokens": 9}


def test_a_streamed_answer(client: TestClient) -> None:
    options = {"include_usage": True}
    events = events_of(client.post(TEXT, json={**ONCE, "n": 2, "stream": True, "stream_options": options}))
    for index in (0, 1):
        own = [choice for event in events for choice in event["choices"] if choice["index"] == index]
        assert [choice["text"] for choice in own] == ["Hello", " wörld", ""]
        assert [choice["finish_reason"] for choice in own] == [None, None, "stop"]
    assert events[-1]["usage"] == {"prompt_tokens": 7, "completion_tokens": 4, "total_tokens": 11}
    assert {event["object"] for event in events} == {"text_completion"}


def test_what_is_asked_reaches_the_engine() -> None:
    engine = Scripted()
    settings = {"max_tokens": 9, "temperature": 0, "top_p": 0.5, "seed": -3, "stop": ["x", "y"], "logprobs": 2}
    assert client_of(engine, role="a poet").post(TEXT, json={**ONCE, "prompt": ["Once"], **settings}).status_code == 200
    assert engine.asked == [
        TextRequest(
            model="m", prompt="Once", max_tokens=9, temperature=0.0, top_p=0.5, seed=-3, stop=("x", "y"), top_logprobs=2
        )
    ]


def test_log_probabilities() -> None:
    client = client_of(Scripted(("Hé", "llo", "!")))
    found = client.post(TEXT, json={**ONCE, "logprobs": 1}).json()["choices"][0]["logprobs"]
    assert found == {
        "tokens": ["Hé", "llo", "!"],
        "token_logprobs": [-0.5] * 3,
        "top_logprobs": [{"?": -1.5}] * 3,
        "text_offset": [0, 2, 5],
    }
    events = events_of(client.post(TEXT, json={**ONCE, "logprobs": 0, "stream": True}))
    parts = [event["choices"][0]["logprobs"] for event in events[:-1]]
    assert [part["text_offset"] for part in parts] == [[0], [2], [5]]
    assert [part["top_logprobs"] for part in parts] == [None] * 3


@pytest.mark.parametrize(
    ("change", "param"),
    [
        ({"prompt": ""}, "prompt"),
        ({"prompt": None}, "prompt"),
        ({"prompt": []}, "prompt"),
        ({"prompt": {}}, "prompt"),
        ({"prompt": ["one", "two"]}, "prompt"),
        ({"prompt": [5, 6]}, "prompt"),
        ({"prompt": [[5, 6]]}, "prompt"),
        ({"messages": []}, "messages"),
        ({"max_completion_tokens": 5}, "max_completion_tokens"),
        ({"response_format": {"type": "text"}}, "response_format"),
        ({"logprobs": True}, "logprobs"),
        ({"logprobs": 21}, "logprobs"),
        ({"n": 16384}, "n"),
        ({"best_of": 3}, "best_of"),
        ({"echo": True}, "echo"),
        ({"suffix": "x"}, "suffix"),
        ({"temperature": 3}, "temperature"),
    ],
)
def test_what_cannot_be_honoured_is_refused_by_name(client: TestClient, change: dict[str, Any], param: str) -> None:
    error = error_of(client.post(TEXT, json={**ONCE, **change}), 400)
    assert error["param"] == param
    assert param in error["message"]


def test_token_ids_and_several_texts_are_refused_in_words(client: TestClient) -> None:
    assert "token ids" in error_of(client.post(TEXT, json={**ONCE, "prompt": [5, 6]}), 400)["message"]
    assert "a request for each" in error_of(client.post(TEXT, json={**ONCE, "prompt": ["a", "b"]}), 400)["message"]
    assert error_of(client.post(TEXT, json={"model": "m"}), 400)["param"] == "prompt"


def test_refusals_of_the_engine() -> None:
    error = error_of(client_of(Scripted(cannot=("prompt",))).post(TEXT, json=ONCE), 400)
    assert (error["code"], error["param"]) == ("unsupported_parameter", "prompt")
    error = error_of(client_of().post(TEXT, json={**ONCE, "max_tokens": 101}), 400)
    assert (error["code"], error["param"]) == ("context_length_exceeded", "max_tokens")
    assert error_of(client_of().post(TEXT, json={**ONCE, "model": "gpt", "stream": True}), 404)["param"] == "model"


def test_every_field_of_the_openai_client_is_known(client: TestClient) -> None:
    for field in get_type_hints(CompletionCreateParamsNonStreaming):
        response = client.post(TEXT, json={**ONCE, field: {"made": "up"}})
        assert response.status_code in (200, 400)
        if response.status_code == 400:
            error = response.json()["error"]
            assert (error["code"], error["param"]) != ("unknown_parameter", field)
