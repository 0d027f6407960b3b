"""What is said of wrong values: plain words that go on from the field's name."""

from __future__ import annotations

from typing import Any, get_args

import pytest
from pydantic import TypeAdapter
from pydantic_core import ErrorDetails
from pydantic_core.core_schema import ErrorType

from tests.builders import make_key, make_project
from tests.tracking.test_api_notifications import Api
from tracking import following, schema, words
from tracking.policy import RetryOverrides
from tracking.services.analytics import MetricsQuery

MAIL = {"channel": "email", "recipient": "ada@example.org", "content": {"text": "Hello"}}
_NOTIFICATION = TypeAdapter(schema.Notification)
_RETRY = TypeAdapter(RetryOverrides)


@pytest.mark.parametrize(
    ("document", "detail"),
    [
        ([], "must be an object"),
        ({**MAIL, "channel": "pigeon"}, "must be 'email', 'sms', 'push' or 'chat'"),
        ({**MAIL, "content": "x"}, "must be an object"),
        ({**MAIL, "metadata": "x"}, "must be an object"),
        ({**MAIL, "tags": "x"}, "must be a list"),
        ({**MAIL, "tags": ["x"] * 21}, "must hold at most 20 items"),
        ({**MAIL, "tags": [""]}, "must not be empty"),
        ({**MAIL, "subject": 7}, "must be a text"),
        ({**MAIL, "subject": "x" * 999}, "must have at most 998 characters"),
        ({**MAIL, "content": {"text": "x" * 1_000_001}}, "must have at most 1,000,000 characters"),
        ({**MAIL, "recipient": "x" * 501}, "must have at most 500 characters"),
        ({**MAIL, "priority": "1"}, "must be a whole number"),
        ({**MAIL, "priority": 1.5}, "must be a whole number"),
        ({**MAIL, "priority": -1}, "must be at least 0"),
        ({**MAIL, "priority": 10}, "must be at most 9"),
        ({**MAIL, "tracking": {"opens": 1}}, "must be true or false"),
        ({**MAIL, "retry": {"backoff_factor": "x"}}, "must be a number"),
        ({**MAIL, "colour": 1}, "is not a known field"),
        ({"recipient": "ada@example.org", "content": {"text": "x"}}, "is needed"),
    ],
)
def test_of_a_field(document: Any, detail: str) -> None:
    with pytest.raises(schema.Invalid) as invalid:
        schema.checked(_NOTIFICATION, document)
    assert [error.detail for error in invalid.value.errors] == [detail]


def test_of_parameters() -> None:
    with pytest.raises(schema.BadQuery) as bad:
        schema.query(MetricsQuery, {"group_by": "moon", "foo": "1"})
    assert bad.value.errors["foo"] == "is not a known parameter"
    assert bad.value.errors["group_by"].startswith("must be 'hour', 'day'")
    with pytest.raises(schema.BadQuery) as bad:
        following.wait_query({"wait": "61", "status": "moon", "foo": "1"})
    assert bad.value.errors.keys() == {"wait", "status", "foo"}
    assert bad.value.errors["wait"] == "must be at most 60"


@pytest.mark.django_db
def test_of_a_whole_request() -> None:
    answer = Api(make_key(make_project())).post("notifications", [1])
    assert answer.json()["detail"] == "the request must be an object"


@pytest.mark.parametrize("kind", get_args(ErrorType))
def test_nothing_that_pydantic_can_find_is_told_in_its_words(kind: str) -> None:
    about = {
        "min_length": 2,
        "max_length": 2,
        "field_type": "List",
        "pattern": "x",
        "expected": "'a'",
        "error": "is bad",
    }
    about |= dict.fromkeys(("gt", "ge", "lt", "le", "max_digits", "decimal_places", "whole_digits"), 1)
    told = words.of(ErrorDetails(type=kind, loc=("a",), msg="Input should be an instance of A", input=1, ctx=about))
    assert "Input" not in told and "instance" not in told and "{" not in told
