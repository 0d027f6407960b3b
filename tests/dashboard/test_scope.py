"""Scopes: what a query means, what is said where it means nothing, and what it costs to go through one."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext
from django.utils.http import urlencode

from dashboard import keyset, scope
from providers.base import FailureClass
from tests.builders import make_account, make_message, make_project
from tests.dashboard.people import superuser
from tests.tracking.lives import fail
from tracking import ids, search, selection

pytestmark = pytest.mark.django_db


@pytest.fixture
def project():
    found = make_project()
    make_account(found, code=f"{found.code}-mail")
    return found


def found(**query) -> list:
    return [key for rows in scope.read(urlencode(query)).steps() for key in rows.values_list("pk", flat=True)]


# --- what it means


@pytest.mark.parametrize(
    ("typed", "terms"),
    [
        ("ada@example.org", [("", "ada@example.org")]),
        ("+49 151 12345", [("", "+49 151 12345")]),
        ("to:ada tag:vip", [("to", "ada"), ("tag", "vip")]),
        ('error:"mailbox full" ada', [("", "ada"), ("error", "mailbox full")]),
        ("TO: ada", [("to", "ada")]),
        ('"http://x"', [("", "http://x")]),
        ("a7:b", [("", "a7:b")]),
        ("chat:ada", [("", "chat:ada")]),
        ("http://x", [("", "http://x")]),
        ("Aud:f tag:vip", [("", "Aud:f"), ("tag", "vip")]),
        ('"to:ada"', [("", "to:ada")]),
        ("to:chat:ada", [("to", "chat:ada")]),
        ("   ", []),
    ],
)
def test_search_words(typed, terms):
    assert [(term.qualifier, term.value) for term in search.parse(typed)] == terms


@pytest.mark.parametrize("typed", ["to:", "id:nothex", "ref:", "x" * 301])
def test_search_says_what_is_possible(typed):
    with pytest.raises(search.BadSearch, match=r"takes|longer than"):
        search.parse(typed)


def test_every_field_narrows(project):
    other = make_project()
    account = make_account(other, channel="sms", code="text")
    wanted = make_message(
        project, external_id="order-1", category="receipts", template_id="t1", tags=["vip", "de"], recipient="b@x.org"
    )
    fail(wanted, failure=FailureClass.INVALID_RECIPIENT, code="550", text="Mailbox full here")
    make_message(other, channel="sms", recipient="+4915112345678", category="codes")
    for query in (
        {"status": "failed"},
        {"status": "bounced,failed"},
        {"reason": "attempts_exhausted"},
        {"failure": "invalid_recipient"},
        {"channel": "email"},
        {"project": project.pk},
        {"account": project.accounts.get().pk},
        {"category": "receipts"},
        {"template": "t1"},
        {"tag": "de"},
        {"ids": str(wanted)},
        {"q": f"provider:{project.code}-mail"},
        {"q": "tag:vip"},
        {"q": "error:550"},
        {"q": 'error:"mailbox FULL"'},
        {"q": "error:invalid_recipient"},
        {"q": "b@x.org tag:vip error:550", "category": "receipts", "time": "1h", "project": project.pk},
    ):
        assert found(**query) == [wanted], query
    for query in (
        {"status": "sent"},
        {"tag": "d"},
        {"q": "provider:text tag:vip"},
        {"bounce": "hard"},
        {"account": account.pk, "category": "receipts"},
        {"until": "2020-01-01"},
        {"since": "2999-01-01"},
    ):
        assert found(**query) == [], query


def test_a_recipient_with_a_colon_is_found():
    project = make_project()
    make_account(project, channel="chat")
    wanted = make_message(project, channel="chat", recipient="chat:ada")
    make_message(project, channel="chat", recipient="ada")
    for query in ("chat:ada", "to:chat:ada", '"chat:ada"'):
        assert found(q=query) == [wanted], query


def test_the_same_scope_is_the_same_text():
    assert scope.read("status=sent&channel=sms&q=").query == scope.read("channel=sms&tag=&status=sent").query
    assert scope.read("status=failed,bounced").query == scope.read("status=bounced,%20failed").query


def test_a_frozen_scope_does_not_move_on(project):
    now = datetime.now(UTC)
    frozen = scope.read("time=1h&channel=email", now=now).frozen
    again = scope.read(frozen)
    assert again.since == now - timedelta(hours=1)
    assert again.until == now + timedelta(milliseconds=1)
    assert scope.read(frozen).frozen == frozen
    make_message(project)
    assert list(again.step().rows) == []


def test_which_scopes_the_rollups_can_answer():
    make_project()
    assert scope.read("channel=email&failure=timeout&time=24h").rollup == {"channel": "email", "failure": "timeout"}
    assert scope.read("").rollup == {}
    assert scope.read("category=a").rollup == {"category": "a"}
    for query in ("category=a&channel=email", "tag=x", "status=failed", "q=to:a", "batch=3"):
        assert scope.read(query).rollup is None, query


def test_bad_scopes_name_every_field():
    with pytest.raises(scope.BadScope) as bad:
        scope.read("status=x&since=2026-02-31&nonsense=1&q=id:nothex&batch=0")
    assert set(bad.value.errors) == {"status", "since", "__all__", "q", "batch"}


# --- what it costs


def test_going_through_looks_at_a_bounded_number_at_a_time(project, monkeypatch):
    monkeypatch.setattr(selection, "LOOKED_THROUGH", 4)
    keys = [make_message(project, tags=["a"] if number in (2, 9) else []) for number in range(10)]
    steps = [list(rows.values_list("pk", flat=True)) for rows in scope.read("tag=a").steps()]
    assert steps == [[keys[2]], [], [keys[9]]]
    backwards = [list(rows.values_list("pk", flat=True)) for rows in scope.read("tag=a").steps(newest_first=True)]
    assert backwards == [[keys[9]], [keys[2]], []]


@pytest.mark.parametrize(
    ("query", "index"),
    [
        ("account={account}&status=failed", "account_id_id"),
        ("category=a&project={project}", "category_id"),
        ("template=a&tag=b", "template_id_id"),
        ("project={project}&channel=email", "project_id_id"),
        ("q=to:ada@example.org error:550", "recipient_id"),
    ],
)
def test_one_index_leads_and_is_followed_in_its_order(project, query, index):
    make_message(project, category="a", template_id="a")
    query = query.format(project=project.pk, account=project.accounts.get().pk)
    with connection.cursor() as cursor:
        cursor.execute("SET LOCAL enable_seqscan = off")
        cursor.execute("SET LOCAL enable_bitmapscan = off")
        cursor.execute("SET LOCAL enable_sort = off")
        with CaptureQueriesContext(connection) as queries:
            list(scope.read(query).step().rows)
        edge = next(each["sql"] for each in queries if "OFFSET" in each["sql"])
        cursor.execute("EXPLAIN " + edge)
        plan = "\n".join(row[0] for row in cursor.fetchall())
    assert index in plan, plan
    assert "Sort" not in plan, plan


def test_a_period_is_a_range_of_ids(project):
    key = make_message(project)
    moment = ids.time_of(key)
    assert found(since=moment.isoformat()) == [key]
    assert found(until=moment.isoformat()) == []


@pytest.mark.parametrize("lead", ["", "&category=a"])
@pytest.mark.parametrize("newest_first", [False, True])
def test_what_attempts_tell_is_found_in_every_step_and_direction(project, monkeypatch, lead, newest_first):
    monkeypatch.setattr(selection, "LOOKED_THROUGH", 3)
    monkeypatch.setattr(selection, "LOOKED_UP", 2)
    keys = [make_message(project, category="a") for _ in range(9)]
    wanted = {keys[0], keys[3], keys[4], keys[8]}
    for key in wanted:
        fail(key, code="421")
    steps = [list(rows) for rows in scope.read(f"q=error:421{lead}").steps(newest_first=newest_first)]
    assert [message.pk for rows in steps for message in rows] == sorted(wanted, reverse=newest_first)
    assert len(steps) == (5 if lead else 4)


@pytest.mark.parametrize("lead", ["", "&category=a"])
def test_several_things_that_attempts_tell_are_all_asked(project, lead):
    both, one = (make_message(project, category="a") for _ in range(2))
    fail(both, code="550", failure=FailureClass.INVALID_RECIPIENT)
    fail(one, code="421", failure=FailureClass.INVALID_RECIPIENT)
    (rows,) = scope.read(f"q=error:550&failure=invalid_recipient{lead}").steps()
    assert [message.pk for message in rows] == [both]


def test_the_list_finds_them_too_page_by_page(project, monkeypatch):
    monkeypatch.setattr(keyset, "LOOKED_THROUGH", 4)
    keys = [make_message(project) for _ in range(11)]
    for key in (keys[1], keys[6]):
        fail(key, code="421")
    client, url, shown = superuser(), "?q=error:421", []
    while url:
        cl = client.get(f"/admin/tracking/message/{url}").context["cl"]
        shown += [message.pk for message in cl.result_list]
        url, back = cl.older_link, cl.newer_link
    assert shown == [keys[6], keys[1]]
    assert [m.pk for m in client.get(f"/admin/tracking/message/{back}").context["cl"].result_list] != []
