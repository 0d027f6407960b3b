"""Whatever table, file or log may name a recipient: after an erasure none does, and each step is needed for that."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from django.db import transaction

from providers.base import SendResult
from tests.builders import (
    make_account,
    make_channel,
    make_channel_message,
    make_device,
    make_message,
    make_project,
)
from tests.tracking.everywhere import ADA, EVE, Furnished, naming, tables
from tracking import ids, metrics
from tracking.models import ChatUser, Content, Device, Erasure, Event, Leg, Message, Project, QueueRow
from tracking.redact import Needle
from tracking.services import (
    channel_receipts,
    channel_sessions,
    check,
    dispatch,
    erase,
    legs,
    markers,
    members,
    outcomes,
    rollup,
    suppress,
)
from tracking.services.erase_target import Target
from tracking.services.handover import Outcome
from tracking.services.markers import Reach

pytestmark = pytest.mark.django_db(transaction=True)
SPELLINGS = (ADA, "ada%40example.org", "ada lovelace")

# Tables that hold no recipient, and why none can get there.
NAMELESS = {
    "auth_group auth_group_permissions auth_permission auth_user auth_user_groups auth_user_user_permissions "
    "axes_accessattempt axes_accessattemptexpiration axes_accessfailurelog axes_accesslog django_content_type "
    "django_migrations django_session otp_static_staticdevice otp_static_statictoken otp_totp_totpdevice": "operators",
    "django_q_ormq django_q_schedule django_q_task tracking_heartbeat tracking_checkrun "
    "rate_window tracking_nonce": "numbers and our own words (tracking.jobs)",
    "metric_block metric_delta metric_hour metric_kept metric_minute metric_quarter metric_seal "
    "tracking_purgedweek tracking_purgerun": "numbers",
    "channel_settings engagement_settings stream_follower tracking_apikey tracking_grant tracking_pushwooshsettings "
    "tracking_retention login dashboard_alertchannel dashboard_alertrule_channels "
    "providers_provideraccount providers_errormapping": "configuration",
    "tracked_message tracker_listener queue stream_event engagement_short_link channel_message chat_member "
    "tracking_batch tracking_pushlog dashboard_bulkitem "
    "dashboard_alertreading": "ids and our own words",
    "tracking_erasure": "the recipient stands sealed in it until it is done; its reason is redacted",
}


@pytest.fixture
def furnished(tmp_path: Path, settings: Any) -> Furnished:
    settings.EXPORT_DIR = tmp_path / "exports"
    return Furnished(tmp_path / "archive")


def totals() -> Any:
    rollup.fold_all()
    return metrics.totals(metrics.Scope(datetime.now(UTC) - timedelta(days=1), datetime.now(UTC)))


def test_nothing_is_left_and_each_step_is_needed(furnished: Furnished, tmp_path: Path) -> None:
    before = totals()
    found = erase.start(
        project=furnished.project, channel="email", recipient=ADA.upper(), by="test", reason=f"is {ADA}"
    )
    target = Target(found, Needle("email", "ADA@example.org"), ids.floor(found.created_at + timedelta(minutes=1)))
    left = naming(*SPELLINGS, within=(tmp_path,))
    nameless = {table for names in NAMELESS for table in names.split()}
    assert set(tables()) - nameless == left - {"files"} - nameless
    assert left & nameless == {"tracking_erasure"}
    for name, act in erase.STEPS:
        place, done = None, False
        while not done:
            with transaction.atomic():
                place = act(target, place).place
            done = place is None
        now = naming(*SPELLINGS, within=(tmp_path,))
        assert now < left, f"{name} is not needed, or not tested"
        left = now
    assert left == set()
    assert totals() == before and [str(each) for each in check.differences()] == []
    assert Message.objects.filter(recipient=EVE).count() == 6
    assert suppress.suppressed(furnished.project.pk, [("email", ADA)]) and not suppress.suppressed(
        furnished.project.pk, [("email", "(erased)")]
    )
    erased(furnished.project, ADA)  # and all of it in one go: there is nobody any more
    assert naming(*SPELLINGS) == set()


def erased(project: Project, recipient: str, channel: str = "email") -> Erasure:
    found = erase.start(project=project, channel=channel, recipient=recipient, by="test")
    while not erase.work(found.pk, seconds=20):
        pass
    found.refresh_from_db()
    return found


# --- legs


@pytest.mark.parametrize(("channel", "recipient"), [("sms", "+49 1511 234567"), ("chat", "viber-17")])
def test_who_is_erased_under_one_address_is_erased_under_all_of_a_message(channel: str, recipient: str) -> None:
    project = make_project()
    accounts = {name: make_account(project, channel=name) for name in ("chat", "sms", "email")}
    behind = [
        {"channel": "sms", "recipient": "+491511234567", "content": {"text": "by SMS"}, "ttl": 60},
        {"channel": "email", "recipient": EVE, "content": {"text": "by e-mail"}},
    ]
    told = {"channel": "chat", "recipient": "viber-17", "content": {"text": "by chat"}, "fallback": behind}
    sent = make_message(project, **told)
    (handover,) = dispatch.start(accounts["chat"].pk, 1)
    outcomes.finish([Outcome(handover, datetime.now(UTC), result=SendResult("ref"))])
    waits = make_message(project, **told)
    mine = make_message(project, recipient=EVE)  # to one of the other addresses: an erasure of its own
    assert erased(project, recipient, channel).counts == {"message": 2, "content": 2, "leg": 6, "event": 3}
    assert set(Leg.objects.values_list("recipient", flat=True)) == {"(erased)"}
    assert list(Content.objects.values_list("pk", flat=True)) == [mine]
    states = dict(Message.objects.values_list("pk", "status"))
    assert (states[sent], states[waits], states[mine]) == ("sent", "cancelled", "pending")
    Leg.objects.filter(message_id=sent, number=1).update(due_at=datetime.now(UTC))
    assert legs.take_overdue() == 0  # nobody is there to be sent to
    assert not QueueRow.objects.exclude(pk=mine).exists()
    note = Event.objects.get(message_id=sent, dedupe_key="note:leg:1")
    assert note.text.count("its recipient was erased") == 2
    assert [str(each) for each in check.differences()] == []


@pytest.mark.parametrize("spelt", ["+4915123456789", "4915123456789"])
def test_a_phone_number_is_erased_where_a_chat_account_carries_it_too(spelt: str) -> None:
    project = make_project()
    for channel in ("sms", "chat"):
        make_account(project, channel=channel)
    key = make_message(project, channel="chat", recipient=spelt)
    other = make_message(project, channel="chat", recipient=f"{spelt}0")
    suppress.add([suppress.Entry(project.pk, "chat", spelt, "manual")])
    assert erased(project, "+49 151 23456789", "sms").counts["suppression"] == 1
    assert Message.objects.get(pk=key).recipient == "(erased)"
    assert Message.objects.get(pk=other).recipient == f"{spelt}0"
    assert suppress.suppressed(project.pk, [("chat", spelt)])


# --- devices and chat users


def test_a_push_token_goes_with_its_device() -> None:
    project = make_project()
    make_account(project, channel="push")
    make_device(project, token="Token-of-Ada", user_id="ada")
    kept = make_device(project, token="Token-of-Ada-2")
    make_message(project, channel="push", recipient="Token-of-Ada")
    found = erased(project, "Token-of-Ada", "push")
    assert (found.counts["device"], found.counts["message"]) == (1, 1)
    assert list(Device.objects.all()) == [kept] and naming("token-of-ada") == {"tracking_device"}


def test_a_chat_user_is_forgotten_and_the_counts_of_receipts_stay() -> None:
    project = make_project()
    channel = make_channel(project, users=["7", "eve", "70"])
    mine = make_channel_message(channel, user="7", text="7 of 17")
    theirs = make_channel_message(channel, user="eve", text="Hello")
    markers.mark(channel, {members.find(channel, "7").pk: Reach(2, 2)})
    members.change(channel, "7", {"display_name": "Seven", "membership": "member"})
    opened = channel_sessions.open_session(
        project_id=project.pk, prefix="p", user_id="7", display_name=None, invitation=None
    )
    device = make_device(project, user_id="7")
    before = channel_receipts.counts([theirs])
    found = erased(project, "7", "chat")
    assert (found.counts["chat_user"], found.counts["chat_member"], found.counts["device"]) == (1, 1, 1)
    assert channel_receipts.counts([theirs]) == before == {theirs.pk: channel_receipts.Counts(1, 1)}
    user = ChatUser.objects.get(pk=opened.user.pk)
    assert (user.user_id, user.display_name) == (f"(erased) {user.pk}", "")
    assert set(ChatUser.objects.exclude(pk=user.pk).values_list("user_id", flat=True)) == {"eve", "70"}
    body = Content.objects.get(pk=mine.pk).body
    assert (body["sender"], body["text"]) == ("(erased)", "7 of 17")  # what was said stays, without the name
    with pytest.raises(channel_sessions.Closed):
        channel_sessions.of_token(opened.token)
    device.refresh_from_db()
    assert (device.user_id, device.valid) == ("", True)
    members.add(channel, {"members": [{"user_id": "7"}]})  # somebody new
    assert ChatUser.objects.filter(project=project).count() == 4
