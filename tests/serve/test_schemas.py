"""Schemas that an engine cannot afford, or would silently forget, are refused; usual ones are not."""

from __future__ import annotations

import re
from contextlib import suppress
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from carrara.serve.protocol import ApiError
from carrara.serve.schemas import check_schema

OPTIONAL = {f"k{i}": {"type": "integer"} for i in range(300)}


@pytest.mark.parametrize(
    ("schema", "words"),
    [
        ({"type": "array", "items": {"type": "integer"}, "minItems": 100_000_000}, "more than 20,000 repetitions"),
        ({"type": "array", "maxItems": 1e8}, "more than 20,000 repetitions"),
        ({"properties": {"a": {"maxLength": 15_000}, "b": {"minLength": 15_000}}}, "more than 20,000 repetitions"),
        ({"pattern": "^a{99999}$"}, "more than 20,000 repetitions"),
        ({"pattern": "^a{" + "9" * 5000 + "}$"}, "more than 20,000 repetitions"),
        ({"pattern": "^((a{30}){30}){30}$"}, "more than 20,000 repetitions"),
        ({"pattern": r"^(?:[()\]]{150}\({150}){1,150}$"}, "more than 20,000 repetitions"),
        ({"anyOf": [{"pattern": "^" + "a?" * 300 + "$"}]}, "more than 200 properties, or parts of a pattern"),
        ({"type": "object", "properties": OPTIONAL}, "more than 200 properties, or parts of a pattern"),
    ],
)
def test_what_costs_too_much_or_would_be_forgotten_is_refused(schema: dict[str, Any], words: str) -> None:
    with pytest.raises(ApiError, match=re.escape(words)):
        check_schema(schema, "response_format")


@pytest.mark.parametrize(
    "schema",
    [
        {"type": "object", "properties": OPTIONAL, "required": [*OPTIONAL, {}, 1]},
        {"type": "array", "items": {"type": "string", "maxLength": 4000}, "maxItems": 1000},
        {"pattern": "^[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}$"},
        {"pattern": "^([0-9a-f]{1,4}:){7}[0-9a-f]{1,4}$"},
        {"pattern": r"^\+?[0-9]{1,3}[ -]?(\([0-9]{1,4}\))?[0-9 -]{4,14}$"},
        {"properties": {"minItems": {"type": "integer"}, "pattern": {"type": "string"}}, "minItems": True},
    ],
)
def test_usual_schemas_pass(schema: dict[str, Any]) -> None:
    check_schema(schema, "response_format")


@given(st.lists(st.integers(1, 60), max_size=3), st.integers(1, 60))
def test_nested_repetitions_multiply(times: list[int], inner: int) -> None:
    pattern, places = "[ab]" * inner, inner
    for each in times:
        pattern, places = f"({pattern}){{{each}}}", places * each
    try:
        check_schema({"pattern": f"^{pattern}$"}, "response_format")
    except ApiError:
        assert places + 2 > 20_000
    else:
        assert places + 2 <= 20_000


@given(st.text(alphabet="a(){}[]0123,?*+\\|^$", max_size=40))
def test_no_pattern_is_too_odd_to_be_counted(pattern: str) -> None:
    with suppress(ApiError):
        check_schema({"pattern": pattern}, "response_format")
