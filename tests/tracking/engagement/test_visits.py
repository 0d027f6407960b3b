"""What recipients do: taken in at once, judged together, recorded like receipts."""

from __future__ import annotations

import pytest
from django.db import OperationalError, connection
from django.test import Client
from django.test.utils import CaptureQueriesContext

from providers.base import Outbound
from tests.builders import make_endpoint
from tests.tracking.engaged import BASE, handed_over, later, links, message_of, settle, tracking_project, visit
from tracking import ids
from tracking.engagement import tokens
from tracking.engagement.tokens import Handed, Use
from tracking.models import Attempt, Consent, ConsentChange, Delivery, Event, Message, Project, Suppression, Visit
from tracking.services import visits
from tracking.store import read_messages

pytestmark = pytest.mark.django_db(transaction=True)
TARGETS = [f"https://shop.example/{number}?who=ada" for number in range(6)]
HTML = "<body>" + "".join(f'<a href="{each}">x</a>' for each in TARGETS) + "</body>"


@pytest.fixture
def sent() -> Outbound:
    return mail()


def mail(**kw) -> Outbound:
    return handed_over(*tracking_project(), content={"html": HTML}, **kw)


def events(sent: Outbound) -> list[tuple[str, bool, str]]:
    found = Event.objects.filter(message_id=message_of(sent).pk, source="engagement").order_by("occurred_at", "kind")
    return [(event.kind, event.machine, (event.detail or {}).get("machine", "")) for event in found]


def leave_of(sent: Outbound) -> str:
    return links(sent.headers["List-Unsubscribe"], "u")[0]


# --- opens and clicks


def test_an_open_makes_the_message_read(sent):
    (pixel,) = links(sent.html, "o")
    with later(60), CaptureQueriesContext(connection) as queries:
        answer = visit(pixel)
    assert (answer.status_code, answer["Content-Type"]) == (200, "image/gif")
    assert answer.content[:6] == b"GIF89a"
    assert answer["Cache-Control"] == "no-store, private"
    assert answer["X-Robots-Tag"] == "noindex, nofollow" and answer["Referrer-Policy"] == "no-referrer"
    assert "Set-Cookie" not in answer
    assert len(queries) == 1
    assert message_of(sent).status == "sent"
    assert settle() == 1
    message = message_of(sent)
    assert (message.status, Visit.objects.count()) == ("read", 0)
    assert message.read_at is not None and message.delivered_at is not None
    assert events(sent) == [("opened", False, "")]
    assert "user_agent" in Event.objects.get(kind="opened").detail


def test_a_click_leads_where_the_message_led(sent):
    click = links(sent.html, "c")[3]
    with later(60):
        answer = visit(click)
    assert (answer.status_code, answer["Location"]) == (302, TARGETS[3])
    assert answer["Cache-Control"] == "no-store, private" and answer["Referrer-Policy"] == "no-referrer"
    settle()
    assert message_of(sent).status == "read"
    event = Event.objects.get(kind="clicked")
    assert (event.detail["link"], event.detail["url"]) == (3, TARGETS[3])


def test_a_short_link_is_counted_as_a_click():
    project, account = tracking_project("sms")
    sent = handed_over(
        project, account, channel="sms", recipient="+4915112345678", content={"text": "https://shop.example/x"}
    )
    with later(60):
        answer = visit(links(sent.text, "l")[0])
    assert (answer.status_code, answer["Location"]) == (302, "https://shop.example/x")
    settle()
    assert message_of(sent).status == "read"


def test_the_same_doing_counts_once_an_hour(sent):
    (pixel,) = links(sent.html, "o")
    for minutes in (1, 2, 3, 61 + 3):
        with later(minutes * 60):
            visit(pixel)
            visit(pixel)
    with later(3 * 3600):
        assert visits.drain() == 8
    assert 2 <= Event.objects.filter(kind="opened").count() <= 3  # as the hours of the clock fall


def test_nothing_is_recorded_before_it_has_settled(sent):
    (pixel,) = links(sent.html, "o")
    with later(60):
        visit(pixel)
    with later(63):
        assert visits.drain() == 0
    with later(66):
        assert visits.drain() == 1
    assert visits.drain() == 0


# --- machines


def test_machines_are_told_apart(sent):
    (pixel,), clicks = links(sent.html, "o"), links(sent.html, "c")
    with later(60):
        visit(pixel, agent="Mozilla/5.0")
        visit(clicks[0], "head")
        visit(clicks[1], headers={"Sec-Purpose": "prefetch"})
    settle()
    message = message_of(sent)
    assert message.status == "sent"
    attempt = Attempt.objects.get(message_id=message.pk)
    assert attempt.machine_opened_at is not None and attempt.opened_at is None and attempt.clicked_at is None
    assert {why for _, machine, why in events(sent) if machine} == {
        "Apple Mail Privacy Protection",
        "a HEAD request",
        "fetched ahead",
    }
    with later(3600):
        visit(pixel)
    with later(3700):
        visits.drain()
    assert message_of(sent).status == "read"


def test_too_soon_after_the_hand_over_is_a_machine(sent):
    visit(links(sent.html, "o")[0])
    settle()
    assert events(sent) == [("opened", True, "too soon after the hand-over")]
    assert message_of(sent).status == "sent"


def test_many_links_in_one_visit_are_a_machine(sent):
    clicks = links(sent.html, "c")
    for second, click in enumerate(clicks):  # a scanner, one link a second
        with later(60 + second):
            visit(click)
    with later(62):
        assert visits.drain() == 0  # it may not be over
    settle()
    assert {each[1:] for each in events(sent)} == {(True, "many links at once")}
    assert message_of(sent).status == "sent"


def test_a_reader_follows_some_links(sent):
    clicks = links(sent.html, "c")
    for seconds, click in ((60, clicks[0]), (62, clicks[1]), (90, clicks[2]), (120, clicks[3])):
        with later(seconds):
            visit(click)
        with later(seconds + 9):
            visits.drain()
    assert [each[:2] for each in events(sent)] == [("clicked", False)] * 4


def test_visits_that_never_pause_are_recorded_all_the_same(sent):
    (pixel,) = links(sent.html, "o")
    for second in range(0, 40, 4):
        with later(60 + second):
            visit(pixel)
    with later(60 + 36):
        assert visits.drain() == 10


# --- hostile addresses


@pytest.mark.parametrize("kind", ["o", "c", "u", "p"])
def test_no_token_of_another_use_or_hand_leads_anywhere(sent, kind):
    key = message_of(sent).pk
    other = {"o": Use.CLICK, "c": Use.OPEN, "u": Use.CLICK, "p": Use.UNSUBSCRIBE}[kind]
    good = tokens.sign(other, Handed(key, 1))
    end = {"o": ".gif", "p": "/opened"}.get(kind, "")
    for token in (good, good[:-4] + "AAAA", "x", "A" * 48, "%00", "..%2f..%2f", "é" * 48, "https:%2f%2fevil.example"):
        for method in ("get", "post"):
            answer = visit(f"/{kind}/{token}{end}", method)
            assert answer.status_code in (404, 405), (token, method)
            assert "Location" not in answer
    assert not Visit.objects.exists()


@pytest.mark.parametrize(
    "query", ["?url=https://evil.example", "?next=//evil.example", "/https://evil.example", "%0d%0aLocation:%20x"]
)
def test_no_address_redirects_elsewhere(sent, query):
    click = links(sent.html, "c")[0]
    answer = visit(click + query)
    assert answer.status_code == 404 or answer["Location"] == TARGETS[0]
    assert "evil" not in answer.get("Location", "")


def test_links_beyond_the_list_and_attempts_that_never_were(sent):
    key = message_of(sent).pk
    for handed in (Handed(key, 1, 6), Handed(key, 2, 0), Handed(ids.new(), 1, 0), Handed(key, 65535, 65535)):
        assert visit(f"/c/{tokens.sign(Use.CLICK, handed)}").status_code == 410
    answers = [visit(f"/o/{tokens.sign(Use.OPEN, handed)}.gif") for handed in (Handed(ids.new(), 1), Handed(key, 9))]
    assert [answer.status_code for answer in answers] == [200, 200]
    assert settle() == 2  # and dropped
    assert events(sent) == []


@pytest.mark.parametrize("code", ["", "a", "a" * 11, "a" * 12, "..%2f..%2f", "%00" * 11, "A' OR 1=1--"])
def test_codes_that_are_none(code):
    assert visit(f"/l/{code}").status_code == 404


def test_targets_are_no_headers():
    project, account = tracking_project()
    html = '<a href="https://shop.example/&#13;&#10;Set-Cookie: a=b">x</a><a href="https://shop.example/%0d%0aX: y">'
    html += '<a href="https://bücher.example/ä?ö=ü#ß">'
    sent = handed_over(project, account, content={"html": html})
    for click in links(sent.html, "c"):
        answer = visit(click)
        assert answer.status_code == 302
        assert not any(char in answer["Location"] for char in "\r\n") and answer["Location"].isascii()
        assert "Set-Cookie" not in answer and "X" not in answer


def test_user_agents_are_stored_as_text(sent):
    (pixel,) = links(sent.html, "o")
    with later(60):
        visit(pixel, agent="<script>\x7f" + "é" * 500)
    settle()
    assert len(Event.objects.get(kind="opened").detail["user_agent"]) == 200


def test_while_the_database_is_away_the_pixel_is_shown_and_nothing_claimed(sent, monkeypatch):
    def away(*_, **__):
        raise OperationalError("away")

    monkeypatch.setattr(Visit.objects, "create", away)
    answer = visit(links(sent.html, "o")[0])
    assert (answer.status_code, answer["Content-Type"]) == (503, "image/gif")
    click = visit(links(sent.html, "c")[0])
    assert (click.status_code, click["Location"]) == (302, TARGETS[0])


def test_what_the_database_refuses_is_lost_alone(sent, caplog):
    other = mail()
    with later(60):
        visit(links(other.html, "o")[0])
    Visit.objects.create(message_id=message_of(sent).pk, attempt=1, kind="nonsense", at=Visit.objects.get().at)
    assert settle() == 2
    assert (message_of(other).status, message_of(sent).status) == ("read", "sent")
    assert "were refused" in caplog.text and not Visit.objects.exists()


def test_a_purged_message_drops_its_visits(sent):
    with later(60):
        visit(links(sent.html, "o")[0])
    Message.objects.all().delete()
    assert settle() == 1 and not Visit.objects.exists()


# --- unsubscribing


def test_a_get_asks_and_changes_nothing():
    sent = mail(purpose="News & <b>offers</b>")
    leave = leave_of(sent)
    for method in ("get", "head"):
        answer = visit(leave, method)
        assert answer.status_code == 200 and answer["Cache-Control"] == "no-store, private"
    shown = visit(leave).content.decode()
    assert "News &amp; &lt;b&gt;offers" in shown and "Acme" in shown and 'method="post"' in shown
    assert "ada" not in shown and "<script" not in shown and "style=" not in shown
    assert not Consent.objects.exists() and not Suppression.objects.exists() and not Visit.objects.exists()
    assert events(sent) == []


def test_one_click_withdraws_the_consent_for_the_purpose():
    sent = mail(purpose="news")
    for _ in range(2):  # mail clients repeat themselves
        answer = visit(leave_of(sent), "post", data={"List-Unsubscribe": "One-Click"})
        assert answer.status_code == 200 and "You are unsubscribed" in answer.content.decode()
    consent = Consent.objects.get()
    assert (consent.address, consent.purpose, consent.state) == ("ada@example.org", "news", "withdrawn")
    change = ConsentChange.objects.get()
    assert (change.source, change.message_id) == ("engagement", message_of(sent).pk)
    assert events(sent) == [("unsubscribed", False, "")]
    assert not Suppression.objects.exists()
    assert message_of(sent).status == "sent"


def test_without_a_purpose_the_recipient_is_suppressed(sent):
    body = "List-Unsubscribe=One-Click"
    kind = "application/x-www-form-urlencoded"
    assert Client().post(leave_of(sent), body, content_type=kind).status_code == 200
    entry = Suppression.objects.get()
    assert (entry.address, entry.reason, entry.message_id) == ("ada@example.org", "unsubscribed", message_of(sent).pk)


@pytest.mark.parametrize("data", [{}, {"List-Unsubscribe": "no"}, {"x": "y" * 1_000}])
def test_a_post_that_does_not_say_so_changes_nothing(sent, data):
    assert visit(leave_of(sent), "post", data=data).status_code == 400
    assert not Suppression.objects.exists() and events(sent) == []


def test_other_methods_are_refused(sent):
    for path in (leave_of(sent), links(sent.html, "c")[0], links(sent.html, "o")[0]):
        for method in ("put", "delete", "patch"):
            assert visit(path, method).status_code == 405
    assert visit(links(sent.html, "c")[0], "post").status_code == 405


# --- an app's callbacks


def test_an_app_tells_that_it_received_and_opened():
    project, account = tracking_project("push")
    sent = handed_over(project, account, channel="push", recipient="device-token", content={"text": "Hi"})
    path = sent.data["postroom_callback"].removeprefix(BASE)
    answer = visit(f"{path}/received", "post", agent="okhttp/4.12")
    assert (answer.status_code, answer.content, answer["Access-Control-Allow-Origin"]) == (204, b"", "*")
    settle()
    assert message_of(sent).status == "delivered"
    assert visit(f"{path}/opened", "post", agent="okhttp/4.12").status_code == 204
    settle()
    assert message_of(sent).status == "read"
    assert [each[:2] for each in events(sent)] == [("delivered", False), ("opened", False)]
    asked = visit(f"{path}/opened", "options")  # by a browser, before it posts what is more than a plain form
    allowed = [asked[f"Access-Control-Allow-{name}"] for name in ("Origin", "Methods", "Headers")]
    assert (asked.status_code, allowed) == (204, ["*", "POST", "*"])
    assert visit(f"{path}/nonsense", "post").status_code == 404
    assert visit(f"{path}/opened").status_code == 405


# --- and everything else that follows from a fact


def test_webhooks_are_told_once(sent):
    make_endpoint(Project.objects.get())
    with later(60):
        visit(links(sent.html, "o")[0])
        visit(links(sent.html, "c")[0])
    settle()
    told = sorted(Delivery.objects.values_list("event", flat=True))
    assert told == ["notification.clicked", "notification.delivered", "notification.opened", "notification.read"]


def test_a_burst_is_recorded_in_few_statements():
    project, account = tracking_project()
    all_sent = [handed_over(project, account, content={"html": HTML}) for _ in range(8)]
    with later(60):
        for each in all_sent:
            visit(links(each.html, "o")[0])
    with CaptureQueriesContext(connection) as queries:
        assert settle() == 8
    assert len(queries) <= 10
    keys = [message_of(each).pk for each in all_sent]
    assert {row.status for row in read_messages(keys).values()} == {"read"}
