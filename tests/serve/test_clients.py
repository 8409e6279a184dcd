"""The clients people use, against a gateway that listens: openai, langchain-openai and curl."""

from __future__ import annotations

import json
import shutil
import subprocess
from collections.abc import Iterator
from typing import Any

import openai
import pytest
from langchain_openai import ChatOpenAI, OpenAIEmbeddings
from pydantic import SecretStr

from carrara.serve.transformers_engine import TransformersEngine

from .asking import HELLO, MESSAGES, PLAIN_KEY, openai_of, served
from .scripted import Scripted


@pytest.fixture(scope="module")
def url() -> Iterator[str]:
    with served(Scripted(), PLAIN_KEY) as address:
        yield address


@pytest.fixture(scope="module")
def tiny_url(engine: TransformersEngine) -> Iterator[str]:
    with served(engine, PLAIN_KEY) as address:
        yield address


def test_openai_lists_models(url: str) -> None:
    assert [model.id for model in openai_of(url).models.list()] == ["m", "run/1"]


def test_openai_chats(url: str) -> None:
    answer = openai_of(url).chat.completions.create(model="m", messages=MESSAGES, n=2, logprobs=True, top_logprobs=1)
    assert [choice.message.content for choice in answer.choices] == ["Hello wörld"] * 2
    assert answer.usage is not None
    assert answer.usage.total_tokens == 11
    logprobs = answer.choices[1].logprobs
    assert logprobs is not None
    assert logprobs.content is not None
    assert [(token.token, token.top_logprobs[0].token) for token in logprobs.content] == [
        ("Hello", "?"),
        (" wörld", "?"),
    ]


def test_openai_streams_with_usage(url: str) -> None:
    chunks = list(
        openai_of(url).chat.completions.create(
            model="m", messages=MESSAGES, stream=True, stream_options={"include_usage": True}
        )
    )
    assert "".join(chunk.choices[0].delta.content or "" for chunk in chunks if chunk.choices) == "Hello wörld"
    assert [chunk.usage.completion_tokens for chunk in chunks if chunk.usage] == [2]


def test_openai_asks_for_a_schema(url: str) -> None:
    schema = {"type": "object", "properties": {"a": {"type": "integer"}}}
    answer = openai_of(url).chat.completions.create(
        model="m",
        messages=MESSAGES,
        response_format={"type": "json_schema", "json_schema": {"name": "a", "strict": True, "schema": schema}},
    )
    assert answer.choices[0].finish_reason == "stop"


def test_openai_continues_texts(url: str) -> None:
    client = openai_of(url)
    whole = client.completions.create(model="m", prompt="Once", logprobs=1)
    assert whole.choices[0].text == "Hello wörld"
    assert whole.choices[0].logprobs is not None
    assert whole.choices[0].logprobs.text_offset == [0, 5]
    parts = client.completions.create(model="m", prompt="Once", stream=True)
    assert "".join(part.choices[0].text for part in parts) == "Hello wörld"


def test_openai_embeds(url: str) -> None:
    client = openai_of(url)
    by_default = client.embeddings.create(model="m", input=["one", "four"])  # asks for base64
    assert [entry.embedding for entry in by_default.data] == [
        pytest.approx([0.6, 0.8], abs=1e-7),
        pytest.approx([0.8, -0.6], abs=1e-7),
    ]
    as_numbers = client.embeddings.create(model="m", input="one", encoding_format="float")
    assert as_numbers.data[0].embedding == [0.6, 0.8]
    assert by_default.usage.prompt_tokens == 7


def test_openai_raises_errors_of_its_own(url: str) -> None:
    client = openai_of(url)
    with pytest.raises(openai.NotFoundError, match="no model 'gpt'"):
        client.chat.completions.create(model="gpt", messages=MESSAGES)
    with pytest.raises(openai.BadRequestError, match="'functions' is not supported") as refused:
        client.chat.completions.create(
            model="m",
            messages=MESSAGES,
            functions=[{"name": "f", "parameters": {}}],
        )
    assert refused.value.param == "functions"
    assert refused.value.request_id
    with pytest.raises(openai.AuthenticationError, match="the key is missing or wrong"):
        openai_of(url, "wrong").models.list()
    with pytest.raises(openai.BadRequestError, match="100"):
        client.chat.completions.create(model="m", messages=MESSAGES, max_tokens=101, stream=True)
    with served(Scripted(), PLAIN_KEY, rate=1) as limited:
        openai_of(limited).completions.create(model="m", prompt="Once")
        with pytest.raises(openai.RateLimitError, match="1 times a minute"):
            openai_of(limited).completions.create(model="m", prompt="Once")


def test_openai_and_a_network(tiny_url: str, engine: TransformersEngine) -> None:
    client = openai_of(tiny_url)
    for name in engine.models():
        settings: dict[str, Any] = {"model": name, "messages": MESSAGES, "temperature": 0, "max_tokens": 12}
        whole = client.chat.completions.create(**settings).choices[0]
        chunks = list(client.chat.completions.create(**settings, stream=True))
        assert "".join(chunk.choices[0].delta.content or "" for chunk in chunks) == whole.message.content
        assert chunks[-1].choices[0].finish_reason == whole.finish_reason


def langchain_of(url: str, **settings: Any) -> ChatOpenAI:
    return ChatOpenAI(base_url=url, api_key=SecretStr(PLAIN_KEY), model="m", max_retries=0, **settings)


def test_langchain_embeds(url: str) -> None:
    embedder = OpenAIEmbeddings(
        base_url=url, api_key=SecretStr(PLAIN_KEY), model="m", check_embedding_ctx_length=False, max_retries=0
    )
    (vector,) = embedder.embed_documents(["marble"])
    assert sum(value * value for value in vector) == pytest.approx(1)


def test_langchain_invokes(url: str) -> None:
    answer = langchain_of(url, temperature=0, max_tokens=50, seed=3).invoke("hello")  # type: ignore[call-arg]
    assert answer.content == "Hello wörld"
    assert answer.response_metadata["finish_reason"] == "stop"
    assert answer.usage_metadata is not None
    assert (answer.usage_metadata["input_tokens"], answer.usage_metadata["output_tokens"]) == (7, 2)


def test_langchain_streams(url: str) -> None:
    messages = [("system", "be short"), ("human", "hello"), ("ai", "hi"), ("human", "again")]
    pieces = list(langchain_of(url, stream_usage=True).stream(messages))
    assert "".join(str(piece.content) for piece in pieces) == "Hello wörld"
    assert sum(piece.usage_metadata["output_tokens"] for piece in pieces if piece.usage_metadata) == 2


def test_langchain_gives_fields() -> None:
    schema = {"title": "answer", "type": "object", "properties": {"a": {"type": "integer"}}, "required": ["a"]}
    engine = Scripted(('{"a": ', "5}"))
    with served(engine, PLAIN_KEY) as url:
        asking = langchain_of(url).with_structured_output(schema, method="json_schema")
        assert asking.invoke("hello") == {"a": 5}
    assert engine.asked[0].schema["properties"] == {"a": {"type": "integer"}}


@pytest.fixture
def curl() -> str:
    return shutil.which("curl") or pytest.skip("curl is not installed")


def run_curl(curl: str, *arguments: str) -> str:
    command = [curl, "--silent", "--show-error", "--max-time", "10", "--noproxy", "*", *arguments]
    return subprocess.run(command, capture_output=True, text=True, check=True, timeout=20).stdout


def test_curl(url: str, curl: str) -> None:
    body = ["--json", json.dumps(HELLO)]
    answer = json.loads(run_curl(curl, f"{url}/chat/completions", "-H", f"Authorization: Bearer {PLAIN_KEY}", *body))
    assert answer["choices"][0]["message"]["content"] == "Hello wörld"
    streamed = ["--no-buffer", "--json", json.dumps({**HELLO, "stream": True})]
    lines = (
        run_curl(curl, f"{url}/chat/completions", "-H", f"Authorization: {PLAIN_KEY}", *streamed).strip().split("\n\n")
    )
    assert lines[-1] == "data: [DONE]"
    assert len(lines) == 5
    refused = json.loads(run_curl(curl, f"{url}/chat/completions", *body))
    assert refused["error"]["code"] == "invalid_api_key"


def test_curl_is_told_early_that_a_body_is_too_long(url: str, curl: str, tmp_path: Any) -> None:
    huge = tmp_path / "huge"
    with huge.open("wb") as file:
        file.truncate(100 << 20)
    headers = ["-H", f"Authorization: {PLAIN_KEY}", "-H", "Content-Type: application/json", "-H", "Expect:"]
    shown = run_curl(curl, f"{url}/chat/completions", *headers, "-T", str(huge), "-X", "POST", "-w", "\n%{size_upload}")
    answer, sent = shown.rsplit("\n", 1)
    assert json.loads(answer)["error"]["code"] == "body_too_large"
    assert int(sent) < 20 << 20
