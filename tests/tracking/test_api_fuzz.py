"""Any JSON at any place of a request is taken or refused, and never breaks the API or the database."""

from __future__ import annotations

import json
from typing import Any

import pytest
from django.test import Client
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.builders import make_account, make_key, make_project
from tracking.models import Message
from tracking.schema import Notification

pytestmark = pytest.mark.django_db

NASTY = ["\0", "\u202e", "a\r\nb", "é" * 300, "x" * 2000, "%s", "'; --", "\ufffe", "𝕏", "{}", "-1", "1e400"]
texts = st.text(st.characters(exclude_categories=["Cs"]), max_size=30) | st.sampled_from(NASTY)
numbers = st.integers(-(10**40), 10**40) | st.floats(allow_nan=False, allow_infinity=False)
values = st.recursive(
    st.none() | st.booleans() | numbers | texts,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(texts, inner, max_size=4),
    max_leaves=12,
)
RIGHT = {
    "email": {"recipient": "ada@example.org", "content": {"text": "Hello"}},
    "sms": {"recipient": "+4915112345678", "content": {"text": "Hello"}},
    "push": {"recipient": "token-0123456789", "content": {"data": {"screen": "home"}}},
    "chat": {"recipient": "ada", "template_id": "welcome"},
}
documents = st.builds(
    lambda channel, changed: {"channel": channel} | RIGHT[channel] | changed,
    st.sampled_from(sorted(RIGHT)),
    st.dictionaries(st.sampled_from(sorted(Notification.model_fields)) | texts, values, max_size=4),
)
envelopes = values | st.fixed_dictionaries({"notifications": st.lists(documents | values, max_size=4)})
relaxed = settings(
    max_examples=120, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow]
)


@pytest.fixture
def client() -> Client:
    project = make_project()
    for channel in RIGHT:
        make_account(project, channel=channel)
    return Client(headers={"Authorization": f"Bearer {make_key(project)}"})


def post(client: Client, path: str, document: Any) -> int:
    before = Message.objects.count()
    answer = client.post(f"/v1/{path}", json.dumps(document), content_type="application/json")
    assert answer.status_code in (200, 202, 400, 422), answer.content[:500]
    if answer.status_code >= 400:
        assert answer["Content-Type"] == "application/problem+json"
        assert Message.objects.count() == before
    return answer.status_code


@relaxed
@given(document=documents)
def test_a_notification(client: Client, document: Any) -> None:
    if post(client, "notifications", document) == 202:
        key = str(Message.objects.values_list("pk", flat=True).first())
        assert client.get(f"/v1/notifications/{key}").status_code == 200
        assert client.get(f"/v1/notifications/{key}/events").status_code == 200


@relaxed
@given(document=envelopes)
def test_a_batch(client: Client, document: Any) -> None:
    post(client, "notifications/batch", document)


@relaxed
@given(document=values | st.fixed_dictionaries({"notification_ids": st.lists(texts | values, max_size=6)}))
def test_a_bulk_status(client: Client, document: Any) -> None:
    post(client, "notifications/bulk-status", document)


@relaxed
@given(
    query=st.dictionaries(
        st.sampled_from(
            [
                "status",
                "channel",
                "provider",
                "recipient",
                "external_id",
                "batch_id",
                "category",
                "tag",
                "created_after",
            ]
            + ["created_before", "cursor", "limit"]
        ),
        texts | numbers.map(str),
        max_size=3,
    )
)
def test_a_list(client: Client, query: dict[str, str]) -> None:
    assert client.get("/v1/notifications", query).status_code in (200, 400)
    assert client.get(f"/v1/notifications/{next(iter(query.values()), 'x').replace('/', '')}").status_code in (
        200,
        404,
        301,
    )
