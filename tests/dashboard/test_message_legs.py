"""The page of a message with a fallback: which legs were taken, when and why, and what a retry may go through."""

from __future__ import annotations

import re
from typing import Any
from uuid import UUID

import pytest
from django.db import connection, transaction
from django.test import Client
from django.test.utils import CaptureQueriesContext
from django.urls import reverse

from providers.base import FailureClass
from tests.builders import make_account, make_message, make_project
from tests.dashboard.people import superuser, text
from tracking import store
from tracking.models import Message, Project
from tracking.services import legs, suppress
from tracking.services.record import Record, Source
from tracking.statuses import Fact, FactKind

pytestmark = pytest.mark.django_db
SMS = {"channel": "sms", "recipient": "+491511234567", "content": {"text": "by SMS"}, "ttl": 60}
MAIL = {"channel": "email", "recipient": "ada@example.org", "subject": "Hello", "content": {"text": "by e-mail"}}
DISPATCH = Source("dispatch")


@pytest.fixture
def client() -> Client:
    return superuser()


@pytest.fixture
def project() -> Project:
    project = make_project()
    for channel in ("chat", "sms", "email"):
        make_account(project, channel=channel, code=f"by-{channel}", weight=500)
    return project


def hand_in(project: Project) -> UUID:
    chat = {"channel": "chat", "recipient": "ada", "content": {"text": "by chat"}}
    return make_message(project, **chat, fallback=[SMS, MAIL])


@transaction.atomic
def tell(key: UUID, kind: FactKind, number: int = 0, **fact: Any) -> None:
    """A new attempt by the present leg, or the one of that number, ends so; what follows for the legs."""
    work = Record([key])
    row = work.messages[key]
    store.take_from_queue([key])
    attempt = row.attempt(number) or work.start_attempt(row, account_id=row.account_id, idempotency_key="k")
    work.add_fact(row, attempt, Fact(kind, work.now, **fact), key=f"{kind}:{attempt.number}", source=DISPATCH)
    work.learn()
    legs.after_failure(work, [row], source=DISPATCH)
    work.save()


def fails(key: UUID) -> None:
    tell(key, FactKind.FAILED, failure=FailureClass.PERMANENT, code="421")


def rows(client: Client, key: UUID) -> list[str]:
    """The lines of the table, without their tags."""
    shown = text(client.get(reverse("admin:tracking_message_change", args=[key])))
    table = re.search(r'<table class="legs">.*?<tbody>(.*?)</tbody>', shown, re.S)
    assert table
    return [" ".join(re.sub(r"<[^>]+>", " ", row).split()) for row in table[1].split("</tr>") if row.strip()]


def test_what_waits_and_for_what(client, project):
    own, sms, mail = rows(client, hand_in(project))
    assert own.startswith("0 present chat") and "pending" in own
    assert "not used" in sms and "It is taken in" in sms
    assert "not used" in mail and "only if the leg before fails" in mail


def test_which_was_taken_why_and_by_which_account(client, project):
    key = hand_in(project)
    fails(key)
    own, sms, _ = rows(client, key)
    assert "failed permanent by-chat 1" in own and "present" not in own
    assert sms.startswith("1 present sms") and "The leg before failed: permanent." in sms
    tell(key, FactKind.DELIVERED)
    *_, sms, mail = rows(client, key)
    assert "delivered" in sms and "by-sms" in sms
    assert "Not needed: an earlier leg delivered." in mail


def test_a_leg_that_was_passed_over(client, project):
    key = hand_in(project)
    suppress.add([suppress.Entry(project.pk, "sms", SMS["recipient"], "manual")])
    fails(key)
    _, sms, mail = rows(client, key)
    assert "Passed over" in sms
    assert "leg 1 was passed over: its recipient is on the suppression list" in mail


def test_a_double_delivery_is_said(client, project):
    key = hand_in(project)
    tell(key, FactKind.ACCEPTED)
    tell(key, FactKind.FAILED, 1, failure=FailureClass.PERMANENT)
    tell(key, FactKind.ACCEPTED)
    page = reverse("admin:tracking_message_change", args=[key])
    assert "Double delivery" not in text(client.get(page))
    tell(key, FactKind.DELIVERED, 1)
    assert "Double delivery" in text(client.get(page))


def test_a_retry_via_another_account_goes_by_the_present_leg(client, project):
    other_sms = make_account(project, channel="sms", code="other-sms", weight=1)
    other_chat = make_account(project, channel="chat", code="other-chat", weight=1)
    key = hand_in(project)
    suppress.add([suppress.Entry(project.pk, "email", MAIL["recipient"], "manual")])
    fails(key)
    fails(key)
    page = reverse("admin:tracking_message_change", args=[key])
    shown = text(client.get(page))
    offered = re.findall(r'<option value="(\d+)">', shown)
    assert offered == [str(other_sms.pk)] and str(other_chat.pk) not in offered
    seen = re.search(r'name="seen" value="([^"]+)"', shown)
    assert seen
    url = reverse("admin:tracking_message_retry-via", args=[key])
    client.post(url, {"seen": seen[1], "account": other_chat.pk})
    assert Message.objects.get(pk=key).operator_retries == 0
    client.post(url, {"seen": seen[1], "account": other_sms.pk})
    message = Message.objects.get(pk=key)
    assert (message.operator_retries, message.account_id) == (1, other_sms.pk)


def test_budget_of_queries(client, project):
    key = hand_in(project)
    fails(key)
    page = reverse("admin:tracking_message_change", args=[key])
    with CaptureQueriesContext(connection) as queries:
        client.get(page)
    assert len(queries) <= 27, [each["sql"] for each in queries]
