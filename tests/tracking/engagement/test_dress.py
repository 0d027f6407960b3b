"""What a message carries when it is handed over."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext

from providers.base import Classification, ProviderError
from providers.email import mime
from tests.builders import make_account, make_message, make_project
from tests.tracking.engaged import BASE, handed_over, links, message_of, tracking_project, visit
from tracking.engagement import projects
from tracking.models import Content, EngagementSettings, QueueRow, ShortLink, Tracked
from tracking.services import dispatch, dress, outcomes
from tracking.services.handover import Outcome

pytestmark = pytest.mark.django_db(transaction=True)
HTML = '<html><body><p>Hi</p><a href="https://shop.example/?a=1&amp;b=2">Shop</a></body></html>'


def test_everything_is_off_by_default():
    project = make_project()
    account = make_account(project)
    sent = handed_over(project, account, content={"html": HTML, "text": "https://shop.example"})
    EngagementSettings.objects.create(project=project)
    projects.forget()
    again = handed_over(project, account, content={"html": HTML}, purpose="news")
    assert sent.html == again.html == HTML
    assert not sent.headers and not again.headers
    assert not Tracked.objects.exists()


def test_a_project_without_tracking_costs_no_statement():
    project = make_project()
    account = make_account(project)
    counts = []
    for _ in range(2):  # the first fills what is kept for two seconds
        make_message(project, content={"html": HTML})
        with CaptureQueriesContext(connection) as queries:
            dispatch.start(account.pk, 1)
        counts.append([each["sql"] for each in queries if "engagement" in each["sql"] or "consent" in each["sql"]])
    assert counts[1] == []


def test_a_mail_gets_pixel_links_and_headers():
    project, account = tracking_project()
    text = "Shop: https://shop.example/"
    sent = handed_over(project, account, content={"html": HTML, "text": text}, headers={"X-Mine": "1"})
    (click,), (pixel,) = links(sent.html, "c"), links(sent.html, "o")
    assert sent.html == (
        f'<html><body><p>Hi</p><a href="{BASE}{click}">Shop</a>'
        f'<img src="{BASE}{pixel}" width="1" height="1" alt=""></body></html>'
    )
    assert sent.text == text
    assert sent.headers["X-Mine"] == "1"
    assert sent.headers["List-Unsubscribe-Post"] == "List-Unsubscribe=One-Click"
    assert links(sent.headers["List-Unsubscribe"], "u") and sent.headers["List-Unsubscribe"].startswith("<")
    assert Tracked.objects.get().targets == ["https://shop.example/?a=1&b=2"]
    stored = Content.objects.get().body
    assert stored["html"] == HTML and stored["headers"] == {"X-Mine": "1"}  # as it was given
    for address in (click, pixel):
        assert "ada" not in address and str(message_of(sent).pk) not in address


@pytest.mark.parametrize(
    ("settings", "said", "has"),
    [
        ({"opens": False}, None, "cu"),
        ({"clicks": False}, None, "ou"),
        ({"unsubscribe": False}, None, "oc"),
        ({}, {"opens": False}, "cu"),
        ({}, {"clicks": False, "unsubscribe": False}, "o"),
        ({"opens": False, "clicks": False, "unsubscribe": False}, {"opens": True, "clicks": True}, ""),
        ({}, {"opens": False, "clicks": False, "unsubscribe": False}, ""),
    ],
)
def test_a_message_may_turn_off_and_never_on(settings, said, has):
    project, account = tracking_project(**settings)
    sent = handed_over(project, account, content={"html": HTML}, **({"tracking": said} if said else {}))
    all_of_it = sent.html + sent.headers.get("List-Unsubscribe", "")
    assert "".join(kind for kind in "ocu" if links(all_of_it, kind)) == has
    assert has or sent.html == HTML


def test_links_that_stay_as_they_are():
    project, account = tracking_project(opens=False)
    kept = [
        "mailto:ada@example.org?subject=x",
        "tel:+4930123456",
        "#top",
        "/relative",
        "//host/path",
        "cid:logo",
        "javascript:alert(1)",
        f"{BASE}/c/already",
        "https://shop.example/leave",  # named by its own header
        "http://[broken",
        "https:///nohost",
        "https://shop.example/" + "x" * 2_000,
        "https://shop.example/\x01x",
        "",
    ]
    html = "".join(f'<a href="{each}">x</a>' for each in kept)
    headers = {"List-Unsubscribe": "<mailto:leave@shop.example>, <https://shop.example/leave>"}
    sent = handed_over(project, account, content={"html": html}, headers=headers)
    assert sent.html == html
    assert dict(sent.headers) == headers  # theirs stay, and no one-click is claimed for them


def test_the_same_link_has_one_number_and_there_is_an_end_of_them():
    project, account = tracking_project(opens=False)
    html = "<a href=\"http://a.example/\">x</a><a href='http://a.example/'>y</a>"
    many = "".join(f'<a href="http://a.example/{number}">' for number in range(dress.MAX_LINKS + 5))
    sent = handed_over(project, account, content={"html": html})
    assert len(set(links(sent.html, "c"))) == 1
    sent = handed_over(project, account, content={"html": many})
    assert len(links(sent.html, "c")) == dress.MAX_LINKS
    assert sent.html.endswith(f'<a href="http://a.example/{dress.MAX_LINKS + 4}">')


def test_a_link_of_the_mail_may_lead_to_its_unsubscribe_page():
    project, account = tracking_project()
    html = '<a href="postroom:unsubscribe">Leave</a>'
    sent = handed_over(project, account, content={"html": html})
    (leave,) = links(sent.html, "u")
    assert f"<{BASE}{leave}>" == sent.headers["List-Unsubscribe"]
    EngagementSettings.objects.update(unsubscribe=False, opens=False)
    projects.forget()
    assert handed_over(project, account, content={"html": html}).html == html


def test_a_copy_for_somebody_else_has_no_one_click():
    project, account = tracking_project()
    for copies in ({"cc": ["b@example.org"]}, {"bcc": ["b@example.org"]}):
        sent = handed_over(project, account, content={"html": HTML}, **copies)
        assert "List-Unsubscribe" not in sent.headers


def test_the_headers_pass_through_a_real_mail():
    project, account = tracking_project()
    sent = handed_over(project, account, sender="ops@example.org", content={"html": HTML}, purpose="news")
    mail = mime.build(sent, sender="ops@example.org", message_id="<x@example.org>").as_bytes().decode()
    assert f"List-Unsubscribe: {sent.headers['List-Unsubscribe']}\r\n" in mail
    assert "List-Unsubscribe-Post: List-Unsubscribe=One-Click\r\n" in mail


def test_each_attempt_has_addresses_of_its_own():
    project, account = tracking_project()
    make_message(project, content={"html": HTML}, retry={"initial_delay": 0})
    seen = []
    for _ in range(2):
        (handover,) = dispatch.start(account.pk, 1)
        seen.append(handover.outbound.html)
        error = ProviderError("no", classification=Classification())
        outcomes.finish([Outcome(handover, datetime.now(UTC), error=error)])
        QueueRow.objects.update(due_at=datetime.now(UTC))
    assert seen[0] != seen[1]
    assert [row.attempt for row in Tracked.objects.order_by("attempt")] == [1, 2]


def test_text_messages_get_short_links():
    project, account = tracking_project("sms")
    text = "Your parcel: https://shop.example/p/1?q=2. Bye https://shop.example/p/1?q=2"
    sent = handed_over(project, account, channel="sms", recipient="+4915112345678", content={"text": text})
    first, second = links(sent.text, "l")
    assert first.rstrip(".") == second and len(second) == len("/l/") + 11
    assert sent.text == f"Your parcel: {BASE}{second}. Bye {BASE}{second}"
    assert ShortLink.objects.get().code == second.removeprefix("/l/")
    assert not ShortLink.objects.filter(code__contains="4915").exists()
    quiet = handed_over(
        project, account, channel="sms", recipient="+4915112345678", content={"text": text}, tracking={"clicks": False}
    )
    assert quiet.text == text


def test_push_messages_carry_a_callback():
    project, account = tracking_project("push")
    sent = handed_over(
        project, account, channel="push", recipient="device-token", content={"text": "Hi", "data": {"order": "7"}}
    )
    assert sent.data["order"] == "7" and sent.data[dress.CALLBACK].startswith(f"{BASE}/p/")
    off = {"tracking": {"opens": False}}
    assert (
        dress.CALLBACK
        not in handed_over(
            project, account, channel="push", recipient="device-token", **off, content={"text": "x"}
        ).data
    )


def test_what_cannot_be_dressed_is_sent_as_it_is(monkeypatch, caplog):
    project, account = tracking_project()
    monkeypatch.setattr(dress.html, "rewritten", lambda *_, **__: 1 / 0)
    sent = handed_over(project, account, content={"html": HTML})
    assert sent.html == HTML and "untracked" in caplog.text


def test_a_purged_message_answers_410():
    project, account = tracking_project()
    sent = handed_over(project, account, content={"html": HTML})
    (click,), (leave,) = links(sent.html, "c"), links(sent.headers["List-Unsubscribe"], "u")
    Tracked.objects.all().delete()
    for path in (click, leave.rstrip(">")):
        answer = visit(path)
        assert answer.status_code == 410 and "No longer available" in answer.content.decode()
