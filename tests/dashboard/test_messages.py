"""The list of messages and the page of one: found, paged, read, acted upon."""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta

import pytest
from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext
from django.urls import reverse

from dashboard import keyset, scope_form
from tests.builders import make_account, make_message, make_project
from tests.dashboard.people import staff, superuser, text
from tests.tracking.lives import fail, queue_message, status_of
from tracking.models import Attempt, Event, Message
from tracking.services import act
from tracking.services.record import Source
from tracking.statuses import Decision

pytestmark = pytest.mark.django_db
LIST = "/admin/tracking/message/"


@pytest.fixture
def client() -> Client:
    return superuser()


@pytest.fixture
def project():
    found = make_project()
    make_account(found)
    return found


def page(key) -> str:
    return reverse("admin:tracking_message_change", args=[key])


def ids_in(response) -> list[str]:
    return re.findall(r'title="([0-9a-f-]{36})"', text(response))


# --- the list


def test_newest_first_and_page_by_page_without_counting(client, project, monkeypatch):
    monkeypatch.setattr(keyset.KeysetAdmin, "list_per_page", 4)
    keys = [str(make_message(project)) for _ in range(10)]
    seen, url, backwards = [], LIST, []
    for _ in range(3):
        response = client.get(url)
        seen.append(ids_in(response))
        backwards.append(response.context["cl"].newer_link)
        url = LIST + response.context["cl"].older_link
    assert [key for ids in seen for key in ids] == keys[::-1]
    assert response.context["cl"].older_link == ""
    assert backwards[0] == ""
    assert ids_in(client.get(LIST + backwards[2])) == seen[1]


def test_budget_of_queries_whatever_the_number_of_rows(project):
    """Nine for the list, session, permissions and saved views included, and none of them counts or skips."""
    client = staff("tracking.view_message")
    url = f"{LIST}?q=ada@example.org&status=pending&channel=email&project={project.pk}&time=24h"
    counts = []
    for more in (1, 30):
        for _ in range(more):
            make_message(project)
        with CaptureQueriesContext(connection) as queries:
            assert len(ids_in(client.get(url))) == (1 if more == 1 else 31)
        counts.append(len(queries))
        assert not [q["sql"] for q in queries if "count(" in q["sql"].lower()]
    assert counts[0] == counts[1] <= 9


def test_plain_list_neither_counts_nor_skips(client, project):
    make_message(project)
    with CaptureQueriesContext(connection) as queries:
        client.get(LIST)
    assert not [q["sql"] for q in queries if "count(" in q["sql"].lower() or "OFFSET" in q["sql"]]


def test_a_filter_without_an_index_looks_a_bounded_way_and_offers_to_look_further(client, project, monkeypatch):
    monkeypatch.setattr(keyset, "LOOKED_THROUGH", 5)
    wanted = make_message(project)
    fail(wanted)
    for _ in range(12):
        make_message(project)
    url, found, pages = f"{LIST}?status=failed", [], 0
    while url:
        response = client.get(url)
        found += ids_in(response)
        link = response.context["cl"].older_link
        url, pages = link and LIST + link, pages + 1
        assert "status=failed" in link or not link
    assert found == [str(wanted)]
    assert pages == 3
    back = client.get(f"{LIST}?status=failed&after={wanted}")
    assert back.context["cl"].looked_to is not None


@pytest.mark.parametrize(
    "query",
    ["status=failed", "channel=email", "status=failed&channel=email&time=7d", "account={account}"],
)
def test_filters(client, project, query):
    account = make_account(project, code="wanted", weight=500)
    wanted = queue_message(project, account)
    fail(wanted)
    other = make_project()
    queue_message(other, make_account(other, channel="sms"), recipient="+4915112345678")
    assert ids_in(client.get(f"{LIST}?{query.format(account=account.pk)}")) == [str(wanted)]


def test_the_window_of_time_is_a_range_of_ids(client, project, monkeypatch):
    key = make_message(project)
    assert ids_in(client.get(f"{LIST}?time=1h")) == [str(key)]
    monkeypatch.setitem(scope_form.SPANS, "1h", ("last hour", timedelta(seconds=-5)))
    assert ids_in(client.get(f"{LIST}?time=1h")) == []


def test_project_and_batch_filters(client, project):
    wanted = make_message(project)
    other = make_project()
    make_account(other)
    make_message(other)
    assert ids_in(client.get(f"{LIST}?project={project.pk}")) == [str(wanted)]
    assert ids_in(client.get(f"{LIST}?batch=4711")) == []


@pytest.mark.parametrize(
    "query",
    [
        "status=nonsense",
        "time=nonsense",
        "project=999999",
        "batch=abc",
        "batch=99999999999999999999999",
        "nonsense=1",
        "since=2026-02-31",
        "since=0001-01-01",
        "until=nonsense",
        "time=24h&since=2026-01-01",
        "status=failed,nonsense",
        "q=id:nothex",
        "q=id:zz",
        "q=to:",
        "q=provider:nobody",
        "ids=1,2",
        "tag=" + "x" * 200,
        "category=%00",
        "password__startswith=a",
        "before=nonsense",
        "after=%00",
        "q=%00",
        "q=" + "x" * 3000,
        "o=99.-1.x",
        "p=-4",
        "e=1",
        "_popup=1",
    ],
)
def test_bad_parameters_are_named_at_their_field(client, project, query):
    """And nothing is shown: the list without the condition would be one that nobody asked for."""
    make_message(project)
    response = client.get(f"{LIST}?{query}")
    assert response.status_code == 200
    if query.startswith(("before=", "o=", "p=", "e=", "_popup", "after=%00")):
        assert len(ids_in(response)) == 1
    else:
        assert 'role="alert"' in text(response)
        assert ids_in(response) == []


def test_what_is_possible_is_named_by_its_code(client, project):
    form = client.get(f"{LIST}?account=99999999&project=99999999").context["cl"].form
    assert "account-" in str(form.errors["account"])
    assert f"Possible are: {project.code}." in str(form.errors["project"])


@pytest.mark.parametrize("model", ["batch", "inbound", "unmatched", "suppression"])
@pytest.mark.parametrize("query", ["", "before=99999999999999999999999999", "after=-1", "project=1", "state=x"])
def test_the_other_lists_take_bad_parameters_too(client, model, query):
    assert client.get(f"/admin/tracking/{model}/?{query}").status_code == 200


# --- search


def test_search_finds_by_each_kind_of_id_and_by_recipient(client, project):
    wanted = make_message(project, recipient="Grace@Example.org", external_id="order-7")
    make_message(project, recipient="other@example.org", external_id="order-8")
    fail(wanted)
    Attempt.objects.filter(message_id=wanted).update(reference="<abc@mail.example>")
    asked = [
        str(wanted),
        str(wanted)[:18],
        f"id:{str(wanted)[:20]}",
        "Grace@example.org",
        "Grace@EXAMPLE.org",
        "to:Grace@example.org",
        "order-7",
        "ref:order-7",
        "<abc@mail.example>",
        "abc@mail.example",
        "ref:abc@mail.example",
    ]
    for query in asked:
        assert str(wanted) in ids_in(client.get(LIST, {"q": query})), query
    for query in ("order-", "grace", "to:order-7", "ref:Grace@example.org", "id:zzz", "id:"):
        assert ids_in(client.get(LIST, {"q": query})) == [], query


def test_search_scans_no_table(client, project):
    """Every condition of the search is served by an index once there are rows enough to tell."""
    for _ in range(3):
        make_message(project, external_id="order-1")
    with connection.cursor() as cursor:
        cursor.execute("SET enable_seqscan = off")
    for query in ("ada@example.org", "order-1", "ref:order-1", "to:ada@example.org"):
        with CaptureQueriesContext(connection) as queries:
            client.get(LIST, {"q": query})
        for each in queries:
            if '"message"' in each["sql"] or "FROM message" in each["sql"]:
                with connection.cursor() as cursor:
                    cursor.execute("EXPLAIN " + each["sql"])
                    plan = "\n".join(row[0] for row in cursor.fetchall())
                assert "Seq Scan" not in plan, plan


# --- the page


def test_page_tells_the_whole_story(client, project):
    key = make_message(project, subject="Hi", content={"text": "body <b>text</b>", "html": "<p>hello</p>"}, tags=["x"])
    fail(key)
    act.retry(key, source=Source("admin", detail={"user": "grace"}))
    shown = text(client.get(page(key)))
    for words in (
        "Taken in, to be sent",
        "API key pr_test_",
        "Attempt 1: handed to",
        "Failed: permanent failure",
        "no such user",
        "550",
        "Given up",
        "Sent again by hand",
        "grace",
        "body &lt;b&gt;text&lt;/b&gt;",
        'sandbox=""',
    ):
        assert words in shown, words
    assert "<p>hello</p>" not in shown


def test_html_is_shown_in_a_frame_that_can_do_nothing(client, project):
    key = make_message(project, subject="s", content={"html": "<script>alert(1)</script><p>hello</p>"})
    response = client.get(reverse("admin:tracking_message_html", args=[key]))
    policy = response["Content-Security-Policy"]
    assert "sandbox;" in policy
    assert "allow-scripts" not in policy
    assert "script-src" not in policy and "default-src 'none'" in policy
    assert response["X-Frame-Options"] == "SAMEORIGIN"
    assert "hello" in text(response)
    without = make_message(project)
    assert client.get(reverse("admin:tracking_message_html", args=[without])).status_code == 404


def test_unknown_messages_lead_back_to_the_list(client):
    for key in ("nonsense", "01900000-0000-7000-8000-000000000000"):
        response = client.get(f"{LIST}{key}/change/", follow=True)
        assert response.redirect_chain
        assert "There is no message" in text(response)


def test_why_a_message_waits(client, project):
    project.paused = True
    project.save()
    key = make_message(project, scheduled_at=(datetime.now(UTC) + timedelta(hours=2)).isoformat())
    shown = text(client.get(page(key)))
    assert "Its project is paused." in shown
    assert "It is due in 1 h" in shown


# --- retry and cancel


def test_retry_sends_again_and_says_who_did_it(client, project):
    key = make_message(project)
    fail(key)
    assert status_of(key) == "failed"
    response = client.post(reverse("admin:tracking_message_retry", args=[key]), follow=True)
    assert "will be sent again" in text(response)
    assert status_of(key) == "pending"
    decision = Event.objects.get(message_id=key, kind=Decision.OPERATOR_RETRY)
    assert (decision.source, decision.detail) == ("admin", {"user": "ops"})
    again = client.post(reverse("admin:tracking_message_retry", args=[key]), follow=True)
    assert "Not done" in text(again)


def test_cancel_takes_a_waiting_message_back_once(client, project):
    key = make_message(project)
    url = reverse("admin:tracking_message_cancel", args=[key])
    assert "is cancelled" in text(client.post(url, follow=True))
    assert status_of(key) == "cancelled"
    assert "Not done" in text(client.post(url, follow=True))


def test_buttons_show_only_where_the_state_allows_them(client, project):
    key = make_message(project)
    shown = text(client.get(page(key)))
    assert "Cancel this message</button>" in shown and "Retry</button>" not in shown
    fail(key)
    shown = text(client.get(page(key)))
    assert "Retry</button>" in shown and "Cancel this message</button>" not in shown


def test_get_changes_nothing(client, project):
    key = make_message(project)
    for name in ("retry", "cancel"):
        assert client.get(reverse(f"admin:tracking_message_{name}", args=[key])).status_code == 405
    assert client.post(page(key), {"status": "delivered"}).status_code == 405
    assert client.get(f"{LIST}add/").status_code == 403
    assert client.post(f"{LIST}{key}/delete/", {"post": "yes"}).status_code == 403
    assert status_of(key) == "pending"


def test_viewers_see_no_buttons_and_cannot_act(project):
    client = staff("tracking.view_message")
    key = make_message(project)
    shown = text(client.get(page(key)))
    assert "/cancel/" not in shown and "/retry/" not in shown
    assert client.post(reverse("admin:tracking_message_cancel", args=[key])).status_code == 403
    assert client.post(reverse("admin:tracking_message_retry", args=[key])).status_code == 403
    assert status_of(key) == "pending"


def test_actions_need_the_csrf_token(project):
    key = make_message(project)
    client = superuser()
    client.handler.enforce_csrf_checks = True
    assert client.post(reverse("admin:tracking_message_cancel", args=[key])).status_code == 403
    assert status_of(key) == "pending"


def test_strangers_see_the_log_in_page(project):
    key = make_message(project)
    for url in (LIST, page(key), reverse("admin:tracking_message_html", args=[key])):
        assert Client().get(url).status_code == 302
    outsider = staff("tracking.view_project")
    for url in (LIST, page(key), reverse("admin:tracking_message_html", args=[key])):
        assert outsider.get(url).status_code == 403


# --- hostile strings

HOSTILE = "<script>alert(1)</script>\"'><img src=x onerror=alert(2)>\u202eevil\u200f"


def test_hostile_strings_are_escaped_everywhere(client, project):
    long = HOSTILE + "x" * 9_000
    key = make_message(project, category=HOSTILE[:90], tags=["<svg/onload=alert(3)>"], content={"text": long})
    fail(key, text=long[:1000], code=HOSTILE[:90])
    Message.objects.filter(pk=key).update(recipient=HOSTILE, external_id=HOSTILE, reference=HOSTILE)
    project.name = HOSTILE[:90]
    project.save()
    for url in (
        LIST,
        page(key),
        "/admin/",
        "/admin/tracking/project/",
        f"/admin/tracking/project/{project.pk}/change/",
    ):
        shown = text(client.get(url))
        assert "<script>alert" not in shown, url
        assert "<img src=x" not in shown, url
        assert "<svg/onload" not in shown, url
    assert "<bdi" in text(client.get(LIST))


def test_every_page_has_the_strict_policy(client, project):
    key = make_message(project)
    for url in (LIST, page(key), "/admin/", "/admin/login/"):
        policy = client.get(url)["Content-Security-Policy"]
        assert "script-src 'self'" in policy
        assert "unsafe" not in policy
        shown = text(client.get(url))
        assert not re.search(r"<script(?![^>]*(?:\bsrc=|application/json))", shown), url
        assert not re.search(r"<style|\sstyle=|\son[a-z]+=", shown), url
