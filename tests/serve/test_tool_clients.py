"""Tools as the openai client and langchain-openai use them: with a script, and with a network on each engine."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import openai
import pytest
from langchain_core.messages import AIMessage, HumanMessage, ToolMessage
from langchain_openai import ChatOpenAI
from pydantic import BaseModel, SecretStr

from carrara.models import Model
from carrara.serve.engine import ToolCall
from carrara.serve.llamacpp_engine import LlamaCppEngine, Voice
from carrara.serve.openai_engine import OpenAIEngine
from carrara.serve.reader import reader_of
from carrara.serve.transformers_engine import TransformersEngine, load_engine

from .asking import MESSAGES, PLAIN_KEY, openai_of, served
from .calling import ASKED, CALLED, WEATHER, make_caller
from .scripted import Scripted
from .standin import KEY, standing_in
from .tiny import base_as_gguf

FIRST, SECOND = ToolCall("c1", "weather", '{"city": "Pisa"}'), ToolCall("c2", "weather", '{"city": "Rom ä"}')


@pytest.fixture(scope="module")
def caller(tmp_path_factory: pytest.TempPathFactory) -> Model:
    return make_caller(tmp_path_factory.mktemp("caller"))


@pytest.fixture(scope="module")
def reference(caller: Model) -> TransformersEngine:
    return load_engine({"m": caller}, "float32")


@pytest.fixture(scope="module", params=["scripted", "transformers", "llamacpp", "openai"])
def url(
    request: pytest.FixtureRequest,
    caller: Model,
    reference: TransformersEngine,
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[str]:
    """A gateway whose model calls the weather of Pisa when it is asked."""
    if request.param == "openai":
        with standing_in(reference) as (upstream, _, _), pytest.MonkeyPatch.context() as patch:
            patch.setenv("STAND_IN_KEY", KEY)
            with served(OpenAIEngine(upstream, "STAND_IN_KEY"), PLAIN_KEY) as address:
                yield address
        return
    engine: Any = reference
    if request.param == "scripted":
        engine = Scripted((), calls=(FIRST,))
    elif request.param == "llamacpp":
        gguf = base_as_gguf(caller, tmp_path_factory.mktemp("gguf") / "m.gguf")
        engine = LlamaCppEngine(gguf, {"m": Voice(reader_of(caller))}, threads=1, exact=True)
    with served(engine, PLAIN_KEY) as address:
        yield address
    engine.close()


def langchain_of(url: str) -> ChatOpenAI:
    return ChatOpenAI(base_url=url, api_key=SecretStr(PLAIN_KEY), model="m", max_retries=0, temperature=0)


def test_openai_is_given_a_call_and_gives_its_answer_back(url: str) -> None:
    client = openai_of(url)
    messages = list(ASKED)
    for _ in range(2):
        answer: Any = client.chat.completions.create(model="m", messages=messages, tools=[WEATHER], temperature=0)  # type: ignore[list-item]
        (choice,) = answer.choices
        (call,) = choice.message.tool_calls
        assert (choice.finish_reason, choice.message.content) == ("tool_calls", None)
        assert (call.type, call.function.name) == ("function", "weather")
        assert json.loads(call.function.arguments) == {"city": "Pisa"}
        messages = [*ASKED, choice.message, {"role": "tool", "tool_call_id": call.id, "content": "rain"}]


def test_openai_streams_a_call(url: str) -> None:
    settings: dict[str, Any] = {"model": "m", "messages": CALLED, "tools": [WEATHER], "temperature": 0}
    chunks: list[Any] = list(openai_of(url).chat.completions.create(**settings, stream=True))
    (part,) = [part for chunk in chunks for part in chunk.choices[0].delta.tool_calls or ()]
    assert (part.index, part.function.name, json.loads(part.function.arguments)) == (0, "weather", {"city": "Pisa"})
    assert part.id
    assert chunks[-1].choices[0].finish_reason == "tool_calls"
    with openai_of(url).chat.completions.stream(**settings) as stream:
        calls = stream.get_final_completion().choices[0].message.tool_calls or []
    assert [call.function.name for call in calls] == ["weather"]


def test_langchain_binds_tools(url: str) -> None:
    bound = langchain_of(url).bind_tools([WEATHER], parallel_tool_calls=False)
    asked: list[Any] = [HumanMessage(ASKED[0]["content"])]
    called = bound.invoke(asked)
    assert isinstance(called, AIMessage)
    (call,) = called.tool_calls
    assert (call["name"], call["args"], called.invalid_tool_calls) == ("weather", {"city": "Pisa"}, [])
    again = bound.invoke([*asked, called, ToolMessage("rain", tool_call_id=call["id"])])
    assert again.response_metadata["finish_reason"] == "tool_calls"
    whole: Any = None
    for chunk in bound.stream(asked):
        whole = chunk if whole is None else whole + chunk
    assert [(call["name"], call["args"]) for call in whole.tool_calls] == [("weather", {"city": "Pisa"})]


def test_without_tools_the_same_model_calls_nothing(url: str) -> None:
    answer = openai_of(url).chat.completions.create(model="m", messages=MESSAGES, temperature=0, max_tokens=8)
    assert not answer.choices[0].message.tool_calls


class Weather(BaseModel):
    """The weather at a place."""

    city: str


def test_langchain_makes_an_object_of_a_call_that_is_promised() -> None:
    engine = Scripted((), calls=(ToolCall("c1", "Weather", '{"city": "Pisa"}'),))
    with served(engine, PLAIN_KEY) as url:
        asking = langchain_of(url).with_structured_output(Weather, method="function_calling")
        assert asking.invoke("hello") == Weather(city="Pisa")
    assert engine.asked[0].tools.choice == {"type": "function", "function": {"name": "Weather"}}
    assert engine.asked[0].tools.parallel is False


def test_several_calls_in_one_answer() -> None:
    with served(Scripted(("I look.",), calls=(FIRST, SECOND)), PLAIN_KEY) as url:
        bound = langchain_of(url).bind_tools([WEATHER])
        whole: Any = None
        for chunk in bound.stream("hello"):
            whole = chunk if whole is None else whole + chunk
        for message in (bound.invoke("hello"), whole):
            assert message.content == "I look."
            assert [call["args"]["city"] for call in message.tool_calls] == ["Pisa", "Rom ä"]


def test_a_network_is_not_held_to_what_it_cannot_promise(reference: TransformersEngine) -> None:
    with served(reference, PLAIN_KEY) as url:
        for more, param in (({"tool_choice": "required"}, "tool_choice"), ({"tools": [_strict()]}, "tools")):
            settings: dict[str, Any] = {"model": "m", "messages": ASKED, "tools": [WEATHER], **more}
            with pytest.raises(openai.BadRequestError, match="m cannot be held to") as refused:
                openai_of(url).chat.completions.create(**settings)
            assert (refused.value.param, refused.value.code) == (param, "unsupported_parameter")


def test_a_model_without_such_a_template_is_named(engine: TransformersEngine) -> None:
    with (
        served(engine, PLAIN_KEY) as url,
        pytest.raises(openai.BadRequestError, match="run/one cannot use tools") as no,
    ):
        openai_of(url).chat.completions.create(model="run/one", messages=ASKED, tools=[WEATHER])  # type: ignore[list-item]
    assert no.value.param == "tools"


def _strict() -> dict[str, Any]:
    return {"type": "function", "function": {**WEATHER["function"], "strict": True}}
