"""The page of a provider account: what it shows, within bounds, and what can be done from it."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta

import pytest
from django.contrib.admin.models import LogEntry
from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext

from dashboard import account_page
from providers.base import HookRequest
from providers.models import ProviderAccount
from tests.builders import make_account, make_counts, make_message, make_project
from tests.dashboard.people import staff, superuser, text
from tracking import ids
from tracking.models import QueueRow
from tracking.services import inbound, receive, rollup
from tracking.services.record import DISPATCH, Record
from tracking.statuses import Fact, FactKind

pytestmark = pytest.mark.django_db
LIST = "/admin/providers/provideraccount/"
HOSTILE = "<script>alert(1)</script>"


@pytest.fixture
def client() -> Client:
    return superuser()


@pytest.fixture
def account() -> ProviderAccount:
    return make_account(make_project())


def page(account: ProviderAccount, what: str = "") -> str:
    return f"{LIST}{account.pk}/{what}"


def lives(account: ProviderAccount, *receipts: tuple[str, str, str]) -> None:
    """A message for each receipt (word, code, text), taken by the provider; an empty word: the hand-over failed."""
    events, now = [], datetime.now(UTC)
    for word, code, said in receipts:
        key = make_message(account.projects.get())
        QueueRow.objects.filter(pk=key).delete()
        work = Record([key])
        attempt = work.start_attempt(work.messages[key], account_id=account.pk, idempotency_key=str(key))
        fact = Fact(FactKind.ACCEPTED, now) if word else Fact(FactKind.FAILED, now, "permanent", None, code, said)
        work.add_fact(work.messages[key], attempt, fact, key="result:1", source=DISPATCH)
        work.save()
        event = {"id": f"e-{key}", "type": word, "at": now.isoformat(), "echo": ids.echo(key, 1), "reference": ""}
        events += [{**event, "code": code, "text": said}] if word else []
    tell(account, events)


def tell(account: ProviderAccount, events: list[dict[str, str]]) -> None:
    hook = HookRequest("POST", "http://x/", {}, json.dumps({"events": events}).encode(), datetime.now(UTC))
    inbound.store(account_id=account.pk, hook=hook)
    receive.drain()
    rollup.fold_all()


def test_the_figures_of_a_day_and_of_a_week(client, account):
    lives(account, ("delivered", "", ""), ("delivered", "", ""), ("bounced", "5.1.1", "no"), ("", "5.6.0", "refused"))
    for period in ("24h", "7d"):
        with CaptureQueriesContext(connection) as queries:
            shown = text(client.get(page(account), {"period": period}))
        assert len(queries) <= 13, [query["sql"][:90] for query in queries]
        assert "50.0 %" in shown and "25.0 %" in shown  # delivered, bounced
        assert "delivered / sent" in shown  # the definition, to be hovered over
        assert 'class="fill-delivered"' in shown and 'class="fill-bounced"' in shown
        assert "style=" not in shown
        listed = f"/admin/tracking/message/?account={account.pk}&amp;time={period}"
        assert f'href="{listed}&amp;status=delivered,read"' in shown and f'href="{listed}"' in shown
    assert "circuit closed" in shown and "0 of at most 8" in shown


def test_the_failure_tile_says_what_its_list_has_more(client, account):
    at = datetime.now(UTC) - timedelta(minutes=10)
    assert "never sent" not in text(client.get(page(account)))
    make_counts(
        account.projects.get(), at, {"created": 9, "sent": 5, "failed": 5, "suppressed": 4}, account_id=account.pk
    )
    assert "; the list has 4 more, never sent" in text(client.get(page(account)))


def test_an_account_that_sent_nothing_says_what_to_do(client, account):
    shown = text(client.get(page(account)))
    assert "Nothing was sent through this account" in shown
    assert "A test send" in shown
    assert "No attempt of this account has failed" in text(client.get(page(account, "failures/")))
    assert "None yet" in text(client.get(page(account, "receipts/")))


def test_bad_addresses_are_no_errors(client, account):
    assert "There is no period" in text(client.get(page(account), {"period": HOSTILE}))
    assert client.get(page(account, "receipts/"), {"before": HOSTILE}).status_code == 200
    assert client.get(f"{LIST}999999/").status_code == 404
    assert client.post(page(account)).status_code == 405


def test_failures_by_class_code_and_the_vendors_words(client, account):
    lives(account, *[("bounced", "5.1.1", f"550 {HOSTILE} {n}") for n in range(3)], ("", "5.6.0", HOSTILE))
    lives(make_account(make_project()), ("bounced", "5.1.1", "of another account"))
    with CaptureQueriesContext(connection) as queries:
        shown = text(client.get(page(account, "failures/")))
    assert len(queries) <= 6
    found = account_page.failures(account)
    assert [(each.failure, each.bounce, each.code, each.count) for each in found] == [
        ("invalid_recipient", "hard", "5.1.1", 3),
        ("permanent", "", "5.6.0", 1),
    ]
    assert found[0].text.endswith(" 2")  # the newest
    assert HOSTILE not in shown and "&lt;script&gt;" in shown
    assert "another account" not in shown


def test_failures_are_looked_for_in_the_newest_only(account, monkeypatch):
    monkeypatch.setattr(account_page, "FAILURES", 2)
    lives(account, *[("bounced", f"5.1.{n}", "") for n in range(4)])
    assert sorted(each.code for each in account_page.failures(account)) == ["5.1.2", "5.1.3"]


def test_receipts_go_page_by_page(client, account, monkeypatch):
    monkeypatch.setattr(account_page, "RECEIPTS", 2)
    for number in range(3):
        lives(account, ("bounced", f"X-{number}", HOSTILE))
    tell(make_account(make_project()), [])
    with CaptureQueriesContext(connection) as queries:
        first = client.get(page(account, "receipts/"))
    assert len(queries) <= 8
    shown = text(first)
    assert "bounced X-2 (not known)" in shown and "bounced X-1" in shown and "X-0" not in shown
    second = text(client.get(page(account, "receipts/"), {"before": str(first.context["older"])}))
    assert "X-0" in second and "X-1" not in second and "Older" not in second


def test_receipts_look_through_so_many_requests_and_say_so(client, account, monkeypatch):
    monkeypatch.setattr(account_page, "LOOKED_THROUGH", 3)
    lives(account, ("bounced", "X-0", ""))
    other = make_account(make_project())
    for _ in range(5):
        tell(other, [])
    answer = client.get(page(account, "receipts/"))
    assert "Looked as far as" in text(answer)
    assert "X-0" in text(client.get(page(account, "receipts/"), {"before": str(answer.context["older"])}))


def test_receipts_need_their_own_permission(account):
    viewer = staff("providers.view_provideraccount")
    assert viewer.get(page(account)).status_code == 200
    assert viewer.get(page(account, "failures/")).status_code == 200
    assert viewer.get(page(account, "receipts/")).status_code == 403
    for what in ("", "failures/", "receipts/"):
        assert staff().get(page(account, what)).status_code == 403


def test_disabled_and_enabled_by_post(client, account):
    assert client.get(page(account, "switch/")).status_code == 405
    for _ in range(2):  # a second click changes nothing
        shown = text(client.post(page(account, "switch/"), {}, follow=True))
        account.refresh_from_db()
        assert not account.enabled and "nothing is handed over" in shown
    client.post(page(account, "switch/"), {"enabled": "on"})
    account.refresh_from_db()
    assert account.enabled
    assert [entry.change_message for entry in LogEntry.objects.order_by("pk")] == ["Disabled.", "Enabled."]


@pytest.mark.parametrize(
    ("permission", "what"), [("test_provideraccount", "test-send"), ("reset_circuit", "reset-circuit")]
)
def test_some_actions_have_permissions_of_their_own(account, permission, what):
    operator = staff("providers.view_provideraccount", f"providers.{permission}")
    assert what in text(operator.get(page(account))) or what == "reset-circuit"
    assert operator.post(page(account, f"{what}/"), {"recipient": "ada@example.org"}).status_code == 302
    assert operator.post(page(account, "switch/")).status_code == 403


# --- rotation


def test_a_new_secret_is_shown_once(client, account):
    answer = client.post(page(account, "rotate/"), {"name": "hook_secret", "days": "5"})
    account.refresh_from_db()
    new = account.credentials["hook_secret"]
    assert new in text(answer) and new != "test-hook-secret"
    assert "no-store" in answer.headers["Cache-Control"]
    shown = text(client.get(page(account)))
    assert new not in shown and "test-hook-secret" not in shown and "two are accepted" in shown
    assert account.credentials["hook_secret_previous"] == "test-hook-secret"
    again = text(client.post(page(account, "rotate/"), {"name": "hook_secret", "days": "5"}, follow=True))
    assert "still accepted" in again
    client.post(page(account, "end-rotation/"), {"name": "hook_secret"})
    account.refresh_from_db()
    assert account.credentials == {"hook_secret": new}
    said = [entry.change_message for entry in LogEntry.objects.all()]
    assert len(said) == 2 and new not in "".join(said)


def test_the_settings_form_keeps_a_secret_that_is_being_rotated(client, account):
    client.post(page(account, "rotate/"), {"name": "hook_secret", "days": "5"})
    form = {"name": "", "enabled": "on", "max_in_flight": "8", "weight": "1", "price_per_part": "0", "currency": "EUR"}
    form |= {"grant_set-TOTAL_FORMS": "0", "grant_set-INITIAL_FORMS": "0", "setting_profile": "instant"}
    form |= {"setting_seed": "1", "setting_speed": "1", "setting_batch": "20", "setting_hook_secret": ""}
    assert client.post(page(account, "change/"), form).status_code == 302
    account.refresh_from_db()
    assert account.weight == 1
    assert account.credentials["hook_secret_previous"] == "test-hook-secret"


def test_the_new_hook_address_is_shown(client, account):
    before = account.hook_token
    shown = text(client.post(page(account, "rotate/"), {"name": "hook_token", "days": "5"}))
    account.refresh_from_db()
    assert account.hook_url in shown and account.hook_token_previous == before


@pytest.mark.parametrize(
    ("form", "says"),
    [
        ({"name": "hook_secret", "days": "0"}, "days"),
        ({"name": "hook_secret", "days": "1000"}, "days"),
        ({"name": "hook_secret", "days": "x"}, "days"),
        ({"name": "hook_secret"}, "days"),
        ({"name": "profile", "days": "5"}, "nothing of that name"),
        ({"name": "x\0", "days": "5"}, "name"),
        ({"name": HOSTILE, "days": "5"}, "nothing of that name"),
        ({"days": "5"}, "name"),
    ],
)
def test_a_bad_rotation_is_told_and_changes_nothing(client, account, form, says):
    shown = text(client.post(page(account, "rotate/"), form, follow=True))
    assert says in shown and HOSTILE not in shown
    account.refresh_from_db()
    assert account.credentials == {"hook_secret": "test-hook-secret"} and account.previous_until == {}
    assert not LogEntry.objects.exists()
