"""`/v1/embeddings`: vectors as numbers and as bytes."""

from __future__ import annotations

import base64
import struct
from typing import Any

import pytest

from .asking import client_of, error_of, send, served, wait_until
from .scripted import Scripted

EMBED = "/v1/embeddings"


def test_vectors_come_in_order() -> None:
    engine = Scripted()
    answer = client_of(engine).post(EMBED, json={"model": "m", "input": ["one", "four"], "user": "u"}).json()
    assert engine.embedded == ["one", "four"]
    assert [(entry["index"], entry["embedding"]) for entry in answer["data"]] == [(0, [0.6, 0.8]), (1, [0.8, -0.6])]
    assert answer["usage"] == {"prompt_tokens": 7, "total_tokens": 7}
    assert (answer["object"], answer["model"]) == ("list", "m")


def test_vectors_in_base64() -> None:
    body = {"model": "m", "input": "one", "encoding_format": "base64"}
    encoded = client_of().post(EMBED, json=body).json()["data"][0]["embedding"]
    assert struct.unpack("<2f", base64.b64decode(encoded)) == pytest.approx((0.6, 0.8), abs=1e-7)


@pytest.mark.parametrize(
    ("change", "param"),
    [
        ({"input": ""}, "input"),
        ({"input": []}, "input"),
        ({"input": ["a", ""]}, "input"),
        ({"input": ["a", None]}, "input"),
        ({"input": [1, 2]}, "input"),
        ({"input": [[1, 2]]}, "input"),
        ({"input": ["a"] * 2049}, "input"),
        ({"input": {"a": 1}}, "input"),
        ({"dimensions": 5}, "dimensions"),
        ({"encoding_format": "int8"}, "encoding_format"),
        ({"prompt": "x"}, "prompt"),
    ],
)
def test_what_cannot_be_honoured_is_refused_by_name(change: dict[str, Any], param: str) -> None:
    error = error_of(client_of().post(EMBED, json={"model": "m", "input": "one", **change}), 400)
    assert error["param"] == param


def test_a_client_that_leaves_is_embedded_no_further() -> None:
    engine, told = Scripted(), list[Any]()
    engine.gate.clear()
    with served(engine) as url:
        send(url, {"model": "m", "input": ["one", "four"]}, EMBED).close()
        wait_until(lambda: engine.gave_up == 1)
    assert engine.embedded == []
    engine.gate.set()
    assert client_of(engine, on_answer=told.append).post(EMBED, json={"model": "m", "input": "x"}).status_code == 200
    assert told[0].reason == "stop"


def test_refusals_of_the_engine() -> None:
    error = error_of(client_of(Scripted(cannot=("input",))).post(EMBED, json={"model": "m", "input": "one"}), 400)
    assert (error["code"], error["param"]) == ("unsupported_parameter", "input")
    assert error_of(client_of().post(EMBED, json={"model": "gpt", "input": "one"}), 404)["code"] == "model_not_found"
