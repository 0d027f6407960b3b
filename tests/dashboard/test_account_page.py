"""The page of a provider account: what it shows, within bounds, and what can be done from it."""

from __future__ import annotations

import json
import re
from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

import pytest
from django.contrib.admin.models import LogEntry
from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext

from dashboard import account_page
from dashboard.models import Incident
from providers.base import HookRequest
from providers.models import ProviderAccount
from tests.builders import make_account, make_counts, make_message, make_project
from tests.dashboard.people import staff, superuser, text
from tracking import ids
from tracking.counters import LATENCY, latency_bin
from tracking.models import QueueRow
from tracking.services import inbound, receive, rollup
from tracking.services.record import DISPATCH, Record
from tracking.statuses import Fact, FactKind

pytestmark = pytest.mark.django_db
LIST = "/admin/providers/provideraccount/"
HOSTILE = "<script>alert(1)</script>"
BUDGET = 13  # statements of the page, session and user included


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


PERIODS = ("1h", "24h", "7d", "30d")


def charts_of(shown: str) -> dict:
    return json.loads(re.search(r'<script id="figures" type="application/json">(.*?)</script>', shown, re.S)[1])


def counted(account: ProviderAccount, ago: timedelta, **counts: int) -> None:
    make_counts(account.projects.get(), datetime.now(UTC) - ago, counts, account_id=account.pk)


def took(seconds: float, many: int) -> dict[str, int]:
    return {LATENCY[latency_bin(int(seconds * 1000))]: many, "timed": many}


@pytest.mark.parametrize("period", PERIODS)
def test_the_figures_of_each_period(client, account, period):
    lives(account, ("delivered", "", ""), ("delivered", "", ""), ("bounced", "5.1.1", "no"), ("", "5.6.0", "refused"))
    with CaptureQueriesContext(connection) as queries:
        shown = text(client.get(page(account), {"period": period}))
    assert len(queries) <= BUDGET, [query["sql"][:90] for query in queries]
    assert not [query["sql"] for query in queries if 'FROM "message"' in query["sql"] or "FROM attempt" in query["sql"]]
    assert "50.0 %" in shown and "25.0 %" in shown  # delivered, bounced
    assert "delivered / sent" in shown and "95 % of the delivered messages took" in shown  # definitions
    assert 'class="fill-delivered"' in shown and 'class="fill-bounced"' in shown
    assert "style=" not in shown
    listed = f"/admin/tracking/message/?time={period}&amp;account={account.pk}"
    assert f'href="{listed}&amp;status=delivered%2Cread"' in shown and f'href="{listed}"' in shown
    assert "circuit closed" in shown and "0 of at most 8" in shown
    ids_ = re.findall(r' id="([^"]+)"', shown)
    assert len(ids_) == len(set(ids_))


def test_rate_and_times_are_drawn_over_time_and_lead_to_their_messages(client, account):
    counted(account, timedelta(days=5), created=10, sent=10, delivered=10, **took(1, 10))
    counted(account, timedelta(hours=9), created=40, sent=40, delivered=20, bounced=20, **took(100, 20))
    counted(make_account(make_project()), timedelta(hours=9), created=40, sent=40, failed=40)
    found = charts_of(text(client.get(page(account), {"period": "7d"})))
    assert set(found) == {"volume", "delivery", "latency"}
    (rate,) = found["delivery"]["data"]
    assert [value for value in rate["y"] if value is not None] == [1.0, 0.5]
    p50, p95 = found["latency"]["data"]
    assert (p50["name"], p95["name"]) == ("p50", "p95")
    times = [value for value in p95["y"] if value is not None]
    assert times == [pytest.approx(1, rel=0.1), pytest.approx(100, rel=0.1)]
    assert p95["line"]["dash"] != p50["line"]["dash"]  # colour is not the only sign
    for figure in found.values():  # static/postroom/charts.js makes the address of these
        meta = figure["layout"]["meta"]
        assert meta["link"] == f"/admin/tracking/message/?time=7d&account={account.pk}"
        assert len(meta["begins"]) == len(figure["data"][0]["x"])
    assert p95["meta"]["query"] == {"status": "delivered,read"}


def test_the_table_says_the_same_by_the_clock_of_the_operator(client, account):
    client.cookies["tz"] = "Asia/Kolkata"
    counted(account, timedelta(minutes=5), created=3, sent=3, delivered=3, **took(2, 3))
    shown = client.get(page(account), {"period": "1h"})
    assert "From (Asia/Kolkata)" in text(shown)
    (begin,) = (begin for begin, step in shown.context["points"] if step.sent)
    assert f"{begin.astimezone(ZoneInfo('Asia/Kolkata')):%H:%M}" in text(shown)
    client.cookies["tz"] = HOSTILE
    assert "From (UTC)" in text(client.get(page(account)))


def test_incidents_are_drawn_behind_the_charts(account):
    counted(account, timedelta(hours=2), created=5, sent=5, delivered=5, **took(2, 5))
    other = make_account(make_project())
    at = datetime.now(UTC) - timedelta(hours=1)
    for name, query in (("of all", ""), ("of it", f"account={account.pk}"), ("of another", f"account={other.pk}")):
        Incident.objects.create(
            name=name,
            kind="bounce_high",
            severity="warning",
            threshold=1,
            window=15,
            last_value=5,
            worst_value=5,
            opened_at=at,
            last_at=at,
            query=query,
        )
    viewer = staff("providers.view_provideraccount", "dashboard.view_incident")
    for figure in charts_of(text(viewer.get(page(account)))).values():
        assert {each["text"] for each in figure["layout"]["annotations"]} == {"⚑ of all", "⚑ of it"}
    unaware = staff("providers.view_provideraccount")
    assert "of all" not in text(unaware.get(page(account)))


def test_an_arrow_says_which_way_and_the_word_whether_that_is_good(client, account):
    counted(account, timedelta(hours=30), created=100, sent=100, delivered=80, bounced=20, attempts_started=100)
    counted(account, timedelta(hours=2), created=200, sent=200, delivered=190, bounced=10, attempts_started=200)
    tiles = {tile.key: tile.change for tile in client.get(page(account)).context["tiles"]}
    assert (tiles["bounce_rate"].sign, tiles["bounce_rate"].word, tiles["bounce_rate"].tone) == (
        "▼",
        "better",
        "better",
    )
    assert (tiles["delivery_rate"].sign, tiles["delivery_rate"].tone) == ("▲", "better")
    assert (tiles["sent"].sign, tiles["sent"].word, tiles["sent"].tone) == ("▲", "more", "same")
    assert tiles["delivery_p95"] is None  # nothing to compare
    shown = text(client.get(page(account)))
    assert "▼</span> 15.0 points better" in shown and "vs 24 h before" in shown


def test_the_failure_tile_says_what_its_list_has_more(client, account):
    assert "never sent" not in text(client.get(page(account)))
    counted(account, timedelta(minutes=10), created=9, sent=5, failed=5, suppressed=4)
    assert "the list has 4 more, never sent" in text(client.get(page(account)))


def test_an_account_that_sent_nothing_says_what_to_do(client, account):
    shown = text(client.get(page(account)))
    assert "No message came to this account" in shown
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
