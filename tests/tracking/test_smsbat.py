"""SMSBat's interface: who may call, what is taken, what is refused and how, costs, its style of webhooks."""

from __future__ import annotations

import base64
from decimal import Decimal
from io import StringIO
from typing import Any
from uuid import UUID, uuid4

import orjson
import pytest
from django.core.exceptions import ValidationError
from django.core.management import CommandError, call_command
from django.test import Client

from providers.base import FailureClass, ReceiptKind
from tests.builders import make_account, make_endpoint, make_key, make_message, make_project
from tests.tracking.test_fallback import ByChannel, adapter, channels, pass_time, run, tell
from tracking import accounts
from tracking.models import Attempt, Batch, Content, Leg, Login, Message, Project
from tracking.services import act, logins, publish, smsbat_status
from tracking.services.record import Source
from tracking.smsbat_words import TYPES, word
from tracking.statuses import Status

pytestmark = pytest.mark.django_db(transaction=True)
__all__ = ["adapter"]
ITEM = {"from": "Shop", "to": "+380501234567", "type": "sms", "text": "Hello"}
VIBER = {**ITEM, "type": "viber_promo", "ttl": 60, "fallback": {"type": "sms", "text": "Hello by SMS"}}


@pytest.fixture
def project() -> Project:
    project = make_project()
    make_account(
        project, kind="by-channel", channel="sms", settings={}, price_per_part=Decimal("0.0333"), currency="UAH"
    )
    make_account(
        project,
        **{"kind": "by-channel", "channel": "chat", "settings": {}, "service": "viber"},
        **{"price_per_part": Decimal("0.05"), "currency": "USD", "code": "by-viber"},
    )
    return project


class Caller:
    def __init__(self, project: Project, **kw: Any) -> None:
        self.headers = {"X-Authorization-Key": make_key(project, **kw)}

    def get(self, key: Any) -> Any:
        return Client().get(f"/bat/message/{key}", headers=self.headers)

    def send(self, *items: dict[str, Any], body: Any = None) -> Any:
        document = {"messages": list(items)} if body is None else body
        return Client().post("/bat/messagelist", document, content_type="application/json", headers=self.headers)

    def sent(self, *items: dict[str, Any]) -> list[UUID]:
        answer = self.send(*items)
        assert answer.status_code == 200, answer.content
        return [UUID(item["messageId"]) for item in answer.json()["messages"]]


@pytest.fixture
def caller(project: Project) -> Caller:
    return Caller(project)


# --- who calls


def basic(username: str, password: str) -> dict[str, str]:
    return {"Authorization": "Basic " + base64.b64encode(f"{username}:{password}".encode()).decode()}


def test_the_three_ways_to_say_who_calls(project: Project, caller: Caller) -> None:
    (key,) = caller.sent(ITEM)
    password = logins.create(project=project, username="shop")
    api_key = caller.headers["X-Authorization-Key"]
    for headers in ({"X-Authorization-Key": api_key}, basic("shop", password), basic("@", api_key)):
        assert Client().get(f"/bat/message/{key}", headers=headers).status_code == 200


@pytest.mark.parametrize(
    "headers",
    [
        {},
        {"X-Authorization-Key": "wrong"},
        {"X-Authorization-Key": "pr_abcdefghij_wrong"},
        basic("shop", "wrong"),
        basic("nobody", ""),
        basic("@", "wrong"),
        basic("a\x00b", "x"),
        {"Authorization": "Basic ~~~"},
        {"Authorization": "Basic"},
        {"Authorization": "Bearer x"},
    ],
)
def test_nobody_else_gets_in(project: Project, headers: dict[str, str]) -> None:
    logins.create(project=project, username="shop")
    answer = Client().get(f"/bat/message/{uuid4()}", headers=headers)
    assert answer.status_code == 401
    assert answer.json()["error"]["code"] == "UNAUTHORIZED"
    assert answer.headers["WWW-Authenticate"].startswith("Basic")


def test_whoever_names_no_key_hears_of_this_interface_s_ways() -> None:
    said = Client().get(f"/bat/message/{uuid4()}").json()["error"]["message"]
    assert "X-Authorization-Key" in said and "Basic" in said and "Bearer" not in said and "X-API-Key" not in said


def test_a_login_has_scopes_and_ends_when_it_is_revoked(project: Project) -> None:
    password = logins.create(project=project, username="reader", scopes=["read"])
    headers = basic("reader", password)
    refused = Client().post("/bat/messagelist", {"messages": [ITEM]}, content_type="application/json", headers=headers)
    assert (refused.status_code, refused.json()["error"]["code"]) == (403, "FORBIDDEN")
    assert Client().get(f"/bat/message/{uuid4()}", headers=headers).status_code == 404
    Login.objects.update(revoked=True)
    assert Client().get(f"/bat/message/{uuid4()}", headers=headers).status_code == 401


def test_a_password_is_shown_once_and_kept_as_a_hash(project: Project) -> None:
    out = StringIO()
    call_command("create_login", project=project.code, username="shop", stdout=out)
    password = out.getvalue().strip()
    assert logins.check("shop", password) is not None
    assert password.encode() not in bytes(Login.objects.get().hashed)
    with pytest.raises(CommandError, match="already exists"):
        call_command("create_login", project=project.code, username="shop")
    with pytest.raises(CommandError, match="no project"):
        call_command("create_login", project="nowhere", username="other")
    for wrong in ("", "@", "a b", "a:b"):
        with pytest.raises(ValidationError):
            logins.create(project=project, username=wrong)


# --- handing in


@pytest.mark.parametrize(
    ("wrong", "known"),
    [
        ({"to": "nobody"}, ("order-7", "nobody")),
        ({"text": ""}, ("order-7", ITEM["to"])),
        ({"to": 7, "customerMessageId": ["x"]}, (None, None)),
        ({"type": "viber_promo", "messageData": {"at": 10**30}}, ("order-7", ITEM["to"])),
        ({"type": "rcs"}, ("order-7", ITEM["to"])),
    ],
)
def test_a_rejected_message_is_known_again(caller: Caller, wrong: dict[str, Any], known: tuple[Any, Any]) -> None:
    answer = caller.send({**ITEM, "customerMessageId": "order-7", **wrong}, ITEM).json()["messages"][0]
    assert answer["status"] == "rejected"
    assert (answer["customerMessageId"], answer["to"]) == known


def test_a_list_is_taken_and_answered_in_order(caller: Caller) -> None:
    answer = caller.send({**ITEM, "text": "a" * 161, "customerMessageId": "order-7"}, {**ITEM, "to": "nobody"}, VIBER)
    assert answer.status_code == 200
    document = answer.json()
    long, wrong, viber = document["messages"]
    assert document["messagelistId"] == Batch.objects.get().pk
    assert (long["status"], long["parts"], long["customerMessageId"], long["to"]) == (
        "accepted",
        2,
        "order-7",
        "+380501234567",
    )
    assert (wrong["status"], wrong["messageId"], wrong["error"]["code"]) == ("rejected", None, "INVALID_PHONE")
    assert wrong["error"]["field"] == "messages[1].to"
    assert viber["status"] == "accepted"
    assert Message.objects.get(pk=long["messageId"]).external_id == "order-7"
    assert Message.objects.get(pk=viber["messageId"]).category == "viber_promo"
    run()
    assert sorted(channels()) == ["chat", "sms"]


@pytest.mark.parametrize(
    ("change", "code", "field"),
    [
        ({"to": "12"}, "INVALID_PHONE", "messages[0].to"),
        ({"to": None}, "INVALID_PHONE", "messages[0].to"),
        ({"from": "A name too long"}, "INVALID_SENDER", "messages[0].from"),
        ({"from": "Größe"}, "INVALID_SENDER", "messages[0].from"),
        ({"from": ""}, "INVALID_SENDER", "messages[0].from"),
        ({"text": "a" * 39_016}, "MESSAGE_TOO_LONG", "messages[0].text"),
        ({"text": "a" * 50_001}, "MESSAGE_TOO_LONG", "messages[0].text"),
        ({"text": "a\x00b"}, "INVALID_ENCODING", "messages[0].text"),
        ({"text": ""}, "INVALID_REQUEST", "messages[0].text"),
        ({"type": "pigeon"}, "INVALID_REQUEST", "messages[0].type"),
        ({"type": "rcs"}, "INVALID_REQUEST", "messages[0].type"),  # no account carries it
        ({"ttl": 0}, "INVALID_REQUEST", "messages[0].ttl"),
        ({"ttl": "60"}, "INVALID_REQUEST", "messages[0].ttl"),
        ({"fallback": {"type": "sms"}}, "INVALID_REQUEST", "messages[0].fallback.text"),
        ({"fallback": {"type": "email", "text": "x"}}, "INVALID_REQUEST", "messages[0].fallback.type"),
        ({"colour": "red"}, "INVALID_REQUEST", "messages[0].colour"),
    ],
)
def test_a_wrong_message_is_refused_by_code_and_field(
    caller: Caller, change: dict[str, Any], code: str, field: str
) -> None:
    answer = caller.send({**ITEM, **change})
    assert answer.status_code == 400
    error = answer.json()["error"]
    assert (error["code"], error["field"]) == (code, field)
    assert error["message"].startswith(field)
    assert not Message.objects.exists() and not Batch.objects.exists()


@pytest.mark.parametrize(
    "body", [[], {}, {"messages": []}, {"messages": [1]}, {"messages": [ITEM] * 1_001}, {"x": 1}, "x"]
)
def test_a_wrong_list_is_refused(caller: Caller, body: Any) -> None:
    answer = caller.send(body=body)
    assert answer.status_code == 400
    assert set(answer.json()["error"]) <= {"code", "message", "field"}
    assert not Message.objects.exists()


def test_a_long_list_that_no_account_can_take_is_refused() -> None:
    answer = Caller(make_project()).send(*[ITEM] * 1_000)
    assert (answer.status_code, answer.json()["error"]["field"]) == (400, "messages[0].type")
    assert not Message.objects.exists() and not Batch.objects.exists()


def test_what_is_no_json_and_what_is_nowhere(caller: Caller) -> None:
    post = Client().post("/bat/messagelist", "{", content_type="application/json", headers=caller.headers)
    assert (post.status_code, post.json()["error"]["code"]) == (400, "INVALID_REQUEST")
    nowhere = Client().get("/bat/elsewhere", headers=caller.headers)
    assert (nowhere.status_code, nowhere.json()["error"]["code"]) == (404, "NOT_FOUND")
    wrong = Client().delete(f"/bat/message/{uuid4()}", headers=caller.headers)
    assert (wrong.status_code, wrong.json()["error"]["code"]) == (405, "METHOD_NOT_ALLOWED")


# --- what became of it


def test_anothers_message_and_no_message_look_the_same(caller: Caller) -> None:
    other = make_project()
    make_account(other)
    answers = [caller.get(key) for key in (make_message(other), uuid4(), "abc123def456")]
    assert {answer.status_code for answer in answers} == {404}
    assert len({answer.content for answer in answers}) == 1


def test_a_message_costs_its_parts_when_it_is_delivered_and_nothing_before(caller: Caller) -> None:
    (key,) = caller.sent({**ITEM, "text": "€" * 153})
    basic = {"messagelistId": Batch.objects.get().pk, "messageId": str(key), "partscount": 3}
    assert caller.get(key).json() == {**basic, "deliverystatus": "scheduled", "cost": 0.0}
    run()
    assert caller.get(key).json() == {**basic, "deliverystatus": "processing", "cost": 0.0}
    tell(key, 1)
    assert caller.get(key).json() == {**basic, "deliverystatus": "delivered", "cost": 0.0999}


def test_a_failure_costs_nothing(caller: Caller, adapter: type[ByChannel]) -> None:
    adapter.fails = {"sms": FailureClass.INVALID_RECIPIENT}
    (key,) = caller.sent(ITEM)
    run()
    found = caller.get(key).json()
    assert (found["deliverystatus"], found["cost"]) == ("undeliverable", 0.0)
    assert b'"cost":0.0' in caller.get(key).content


def test_the_answer_with_a_fallback_that_is_not_used(caller: Caller) -> None:
    (key,) = caller.sent(VIBER)
    run()
    tell(key, 1)
    assert caller.get(key).json() == {
        **{"messagelistId": Batch.objects.get().pk, "messageId": str(key), "deliverystatus": "delivered"},
        **{"partscount": 1, "cost": 0.05},
        "fallbacks": [{"type": "sms", "status": "not_used"}],
        "extendedStatuses": {"viber": "delivered", "sms": "not_used"},
        **{"rate": 0.05, "rateAmount": 0.05, "rateCurrency": "USD", "billAmount": 0.05, "billCurrency": "USD"},
    }


def test_what_is_no_sms_is_one_part_however_long(caller: Caller) -> None:
    answer = caller.send({**VIBER, "text": "і" * 300, "fallback": {"type": "sms", "text": "і" * 71}}).json()
    (taken,) = answer["messages"]
    assert taken["parts"] == 1
    run()
    key = UUID(taken["messageId"])
    tell(key, 1)
    assert [caller.get(key).json()[name] for name in ("partscount", "cost")] == [1, 0.05]
    assert list(Leg.objects.order_by("number").values_list("parts", flat=True)) == [1, 2]


def test_the_leg_that_arrives_is_billed(caller: Caller) -> None:
    (key,) = caller.sent({**VIBER, "fallback": {"type": "sms", "text": "a" * 161}})
    run()
    pass_time(key)
    run()
    tell(key, 2)
    found = caller.get(key).json()
    assert found["extendedStatuses"] == {"viber": "permanenterror", "sms": "delivered"}
    assert (found["deliverystatus"], found["partscount"], found["cost"]) == ("delivered", 2, 0.0666)
    assert (found["rate"], found["rateAmount"], found["rateCurrency"]) == (0.0333, 0.0666, "UAH")
    assert (found["billAmount"], found["billCurrency"]) == (0.0666, "UAH")


def test_when_every_leg_fails_nothing_is_billed(caller: Caller) -> None:
    (key,) = caller.sent(VIBER)
    run()
    tell(key, 1, ReceiptKind.FAILED, failure=FailureClass.PERMANENT)
    run()
    tell(key, 2, ReceiptKind.FAILED, failure=FailureClass.INVALID_RECIPIENT)
    found = caller.get(key).json()
    assert found["extendedStatuses"] == {"viber": "undeliverable", "sms": "undeliverable"}
    assert (found["deliverystatus"], found["cost"], found["billAmount"]) == ("undeliverable", 0.0, 0.0)


def test_a_later_price_changes_no_bill(project: Project, caller: Caller) -> None:
    (key,) = caller.sent(ITEM)
    run()
    tell(key, 1)
    project.accounts.update(price_per_part=9)
    assert caller.get(key).json()["cost"] == 0.0333
    assert Leg.objects.get().price == Decimal("0.0333")


def test_a_message_of_the_native_api_has_a_status_here_too(project: Project, caller: Caller) -> None:
    key = make_message(project, channel="sms", recipient="+491511234567", content={"text": "a" * 161})
    run()
    tell(key, 1)
    found = caller.get(key).json()
    assert found == {
        **{"messagelistId": None, "messageId": str(key), "deliverystatus": "delivered", "partscount": 2},
        "cost": 0.0666,
    }


def test_what_a_message_of_the_native_api_cost_stays(project: Project, caller: Caller) -> None:
    """Neither a later price nor the end of its content changes it."""
    key = make_message(project, channel="sms", recipient="+491511234567", content={"text": "a" * 161})
    assert caller.get(key).json()["cost"] == 0.0
    run()
    project.accounts.update(price_per_part=9, currency="EUR")
    tell(key, 1)
    Content.objects.all().delete()
    assert [caller.get(key).json()[name] for name in ("partscount", "cost")] == [2, 0.0666]
    kept = Attempt.objects.values_list("parts", "price", "currency").get()
    assert kept == (2, Decimal("0.0333"), "UAH")


def test_what_was_free_stays_free(project: Project, caller: Caller) -> None:
    project.accounts.update(price_per_part=0)
    key = make_message(project, channel="sms", recipient="+491511234567", content={"text": "a" * 161})
    run()
    tell(key, 1)
    project.accounts.update(price_per_part=9)
    assert [caller.get(key).json()[name] for name in ("partscount", "cost")] == [2, 0.0]


def test_the_attempt_that_arrived_is_paid_for(project: Project, caller: Caller, adapter: type[ByChannel]) -> None:
    adapter.fails = {"sms": FailureClass.INVALID_RECIPIENT}
    key = make_message(project, channel="sms", recipient="+491511234567", content={"text": "Hello"})
    run()
    assert caller.get(key).json()["cost"] == 0.0
    adapter.fails = {}
    project.accounts.update(price_per_part=Decimal("0.07"))
    accounts.forget()
    act.retry(key, source=Source("api"))
    run()
    project.accounts.update(price_per_part=9)
    tell(key, 2)
    assert caller.get(key).json()["cost"] == 0.07
    tell(key, 1)  # arrived all the same, and first
    assert Attempt.objects.filter(message_id=key, delivered_at__isnull=False).count() == 2
    assert caller.get(key).json()["cost"] == 0.0333


def test_a_message_that_was_sent_elsewhere_keeps_its_price(project: Project, caller: Caller) -> None:
    code = project.accounts.get(channel="sms").code
    elsewhere = {"provider": code, "provider_message_id": "elsewhere-1"}
    key = make_message(project, channel="sms", recipient="+491511234567", content={"text": "a" * 161}, **elsewhere)
    project.accounts.update(price_per_part=9)
    tell(key, 1)
    assert caller.get(key).json()["cost"] == 0.0666


def test_what_is_free_and_what_is_not_are_kept_together(project: Project) -> None:
    paid = project.accounts.get(channel="sms")
    free = make_account(project, channel="sms")
    items = [
        {"channel": "sms", "recipient": "+491511234567", "provider": each.code, "provider_message_id": f"at-{each.pk}"}
        for each in (paid, free)
    ]
    answer = Client().post(
        "/v1/notifications/batch",
        {"notifications": items},
        content_type="application/json",
        headers={"X-API-Key": make_key(project)},
    )
    assert answer.json()["accepted"] == 2, answer.content
    kept = dict(Attempt.objects.values_list("account_id", "price"))
    assert kept == {paid.pk: Decimal("0.0333"), free.pk: 0}


def test_attempts_from_before_prices_were_kept_cost_what_they_cost_today(project: Project, caller: Caller) -> None:
    key = make_message(project, channel="sms", recipient="+491511234567", content={"text": "a" * 161})
    run()
    tell(key, 1)
    Attempt.objects.filter(message_id=key).update(price=None, parts=0, currency="")
    project.accounts.update(price_per_part=Decimal("0.5"))
    assert caller.get(key).json()["cost"] == 1.0


def test_without_a_fallback_the_ttl_is_the_messages_life(caller: Caller) -> None:
    (key,) = caller.sent({**ITEM, "ttl": 60})
    message = Message.objects.get(pk=key)
    assert message.expires_at is not None and message.fallbacks == 0


def test_a_flashcall_lives_for_a_minute(project: Project, caller: Caller) -> None:
    make_account(project, kind="by-channel", channel="chat", settings={}, service="flashcall")
    answer = caller.send({**ITEM, "type": "flashcall", "text": "1234"}).json()
    assert answer["messages"][0]["ttl"] == 60


def test_every_status_has_a_word_and_every_type_a_carrier() -> None:
    words = {word(status, "permanent") for status in Status}
    assert words == {"scheduled", "processing", "delivered", "undeliverable", "permanenterror"}
    assert word("failed", "expired") == word("failed", "attempts_exhausted") == "permanenterror"
    assert word("failed", "suppressed") == "undeliverable"
    assert set(TYPES.values()) == {"sms", "viber", "rcs", "flashcall"}


# --- its style of webhooks


def test_an_endpoint_of_its_style_is_told_in_its_words(project: Project, caller: Caller) -> None:
    endpoint = make_endpoint(project, style="smsbat", events=["notification.delivered", "notification.failed"])
    (key,) = caller.sent(ITEM)
    run()
    tell(key, 1)
    (letter,) = publish.claim(endpoint.pk, 10)
    said = orjson.loads(letter.body)
    at = said.pop("timestamp")
    assert said == {"messageId": str(key), "deliverystatus": "delivered", "cost": 0.0333}
    assert len(at) == 20 and at.endswith("Z")


def test_what_is_no_message_is_told_as_ever() -> None:
    payload = {"type": "export.complete", "data": {}}
    assert smsbat_status.webhooks([payload]) == [payload]
