"""The OpenAPI document: what the routes take and give, as the code checks and says it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from pydantic.json_schema import models_json_schema

from carrara.serve.chat import ChatBody
from carrara.serve.completions import TextBody
from carrara.serve.embeddings import EmbeddingsBody
from carrara.serve.protocol import IGNORED, Body
from carrara.serve.tools import CALLS

_JSON = "application/json"
_ERRORS = {
    "400": "The request cannot be honoured; `param` names the field.",
    "401": "The key is missing or wrong.",
    "403": "Pages of that origin may not ask.",
    "404": "There is no such model.",
    "408": "The body took too long to arrive.",
    "413": "The body is too long.",
    "415": "The body is no JSON by its Content-Type.",
    "421": "The Host header does not name this server.",
    "429": "Too many requests; Retry-After says when to come back.",
    "500": "The answer failed inside the server.",
    "503": "The server is being stopped, or the model cannot be asked for now.",
}
_ANYWHERE = ("401", "403", "421", "429", "503")
_COUNT = {"type": "integer", "minimum": 0}


def document(models: Sequence[str]) -> dict[str, Any]:
    """The document of a server that answers as `models`."""
    bodies: tuple[type[Body], ...] = (ChatBody, TextBody, EmbeddingsBody)
    _, found = models_json_schema(
        [(kind, "validation") for kind in bodies], ref_template="#/components/schemas/{model}"
    )
    schemas: dict[str, Any] = found["$defs"]
    for kind in bodies:
        _complete(schemas[kind.__name__], kind, models)
    return {
        "openapi": "3.1.0",
        "info": {"title": "Carrara", "version": "1"},
        "security": [{"key": []}],
        "paths": _paths(models),
        "components": {
            "securitySchemes": {
                "key": {"type": "http", "scheme": "bearer", "description": "The bare key is taken, too."}
            },
            "schemas": {**schemas, **_answers()},
            "responses": {status: _response(text, "Error") for status, text in _ERRORS.items()},
        },
    }


def _complete(schema: dict[str, Any], kind: type[Body], models: Sequence[str]) -> None:
    """Add what the class does not say: the models there are, and the fields that change nothing."""
    properties = schema["properties"]
    properties["model"] = {"enum": list(models)}
    for name, allowed in kind.neutral.items():
        properties[name] = {"enum": [None, *allowed], "description": "Other values are refused."}
    for name in sorted(IGNORED):
        properties[name] = {"description": "Taken and ignored."}


def _paths(models: Sequence[str]) -> dict[str, Any]:
    return {
        "/v1/chat/completions": {"post": _answering("Answer a conversation.", "ChatBody", "ChatCompletion")},
        "/v1/completions": {"post": _answering("Continue a text.", "TextBody", "TextCompletion")},
        "/v1/embeddings": {"post": _operation("Embed texts.", "Embeddings", body="EmbeddingsBody")},
        "/v1/models": {"get": _operation("The models that answer here.", "Models")},
        "/v1/models/{model}": {"get": _operation("One of them.", "Model", named=models)},
        "/openapi.json": {"get": _operation("This document.", "Document")},
        "/metrics": {
            "get": {
                "summary": "Figures for Prometheus.",
                "responses": {
                    "200": {"description": "Text form.", "content": {"text/plain": {"schema": {"type": "string"}}}},
                    **_refusals(_ANYWHERE),
                },
            }
        },
        "/healthz": {
            "get": {
                "summary": "Whether the server takes requests.",
                "security": [],
                "responses": {
                    "200": _response("It does.", "Health"),
                    "503": _response("It is being stopped.", "Health"),
                    **_refusals(("403", "421")),
                },
            }
        },
    }


def _operation(
    summary: str, answer: str, body: str | None = None, named: Sequence[str] | None = None
) -> dict[str, Any]:
    """One that answers in a schema's form to a body, to the name of one of the models, or to nothing."""
    responses = {"200": _response("The answer.", answer), **_refusals(_ERRORS if body else _ANYWHERE)}
    if named is not None:
        model = {"name": "model", "in": "path", "required": True, "schema": {"enum": list(named)}}
        return {"summary": summary, "parameters": [model], "responses": {**responses, **_refusals(("404",))}}
    if body is None:
        return {"summary": summary, "responses": responses}
    content = {_JSON: {"schema": _reference(body)}}
    return {"summary": summary, "requestBody": {"required": True, "content": content}, "responses": responses}


def _answering(summary: str, body: str, answer: str) -> dict[str, Any]:
    operation = _operation(summary, answer, body)
    data = {"type": "string", "description": "A bit of the answer as JSON; of the last event, [DONE]."}
    streamed = {"type": "object", "required": ["data"], "properties": {"data": data}}
    operation["responses"]["200"]["content"]["text/event-stream"] = {"schema": streamed}
    return operation


def _refusals(statuses: Sequence[str] | Mapping[str, str]) -> dict[str, Any]:
    return {status: {"$ref": f"#/components/responses/{status}"} for status in statuses}


def _response(text: str, schema: str) -> dict[str, Any]:
    return {"description": text, "content": {_JSON: {"schema": _reference(schema)}}}


def _reference(schema: str) -> dict[str, str]:
    return {"$ref": f"#/components/schemas/{schema}"}


def _object(**properties: Any) -> dict[str, Any]:
    """An object that has all of these and nothing else."""
    return {"type": "object", "required": list(properties), "additionalProperties": False, "properties": properties}


def _list(items: Mapping[str, Any]) -> dict[str, Any]:
    return {"type": "array", "items": items}


def _answers() -> dict[str, Any]:
    text, number, anything = {"type": "string"}, {"type": "number"}, {"type": ["object", "null"]}
    counts = _object(prompt_tokens=_COUNT, completion_tokens=_COUNT, total_tokens=_COUNT)
    reason = {"enum": ["stop", "length", "tool_calls"]}
    message = _object(role={"const": "assistant"}, content={"type": ["string", "null"]}, refusal={"type": "null"})
    message["properties"]["tool_calls"] = CALLS

    def completion(kind: str, **said: Any) -> dict[str, Any]:
        choice = _object(index=_COUNT, **said, logprobs=anything, finish_reason=reason)
        return _object(id=text, object={"const": kind}, created=_COUNT, model=text, choices=_list(choice), usage=counts)

    vector = {"anyOf": [_list(number), {**text, "contentEncoding": "base64"}]}
    embedding = _object(object={"const": "embedding"}, index=_COUNT, embedding=vector)
    model = _object(id=text, object={"const": "model"}, created=_COUNT, owned_by=text)
    fault = _object(message=text, type=text, param={"type": ["string", "null"]}, code=text)
    return {
        "ChatCompletion": completion("chat.completion", message=message),
        "TextCompletion": completion("text_completion", text=text),
        "Embeddings": _object(
            object={"const": "list"},
            data=_list(embedding),
            model=text,
            usage=_object(prompt_tokens=_COUNT, total_tokens=_COUNT),
        ),
        "Model": model,
        "Models": _object(object={"const": "list"}, data=_list(model)),
        "Document": {"type": "object"},
        "Health": _object(status={"enum": ["ok", "stopping"]}),
        "Error": _object(error=fault),
    }
