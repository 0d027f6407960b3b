"""The overview in a real browser: charts are drawn, numbers change by themselves, bars lead to their list, and neither
the policy nor the console has anything to complain of. Skipped where there is no Chromium."""

from __future__ import annotations

import os
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from urllib.parse import parse_qs, urlsplit

import pytest
from django.contrib.auth.models import User
from django.core.cache import cache
from django.core.management import call_command
from playwright.sync_api import Browser, Page, expect

from providers.models import ProviderAccount
from tests.builders import make_message
from tests.e2e import browsing
from tracking.models import Project
from tracking.services import history

pytestmark = [
    pytest.mark.django_db(transaction=True),
    pytest.mark.timeout(120),
]
PASSWORD = "correct horse battery"
STEP = timedelta(minutes=15)  # of the chart over a day


@pytest.fixture(scope="module")
def chromium() -> Iterator[Browser]:
    browsing.chromium()  # or it is skipped
    os.environ["DJANGO_ALLOW_ASYNC_UNSAFE"] = "true"  # Playwright's loop runs in this thread
    with browsing.launched() as (_, browser):
        yield browser
    del os.environ["DJANGO_ALLOW_ASYNC_UNSAFE"]


@pytest.fixture
def project() -> Project:
    cache.clear()
    call_command("seed_demo", verbosity=0)
    found = Project.objects.get(code="demo")
    accounts = list(ProviderAccount.objects.order_by("pk"))
    history.write(project=found, accounts=accounts, days=2, messages=600, until=datetime.now(UTC))
    return found


class Visit:
    """An operator's visit, with all that the browser complained of."""

    def __init__(self, browser: Browser, url: str, *, theme: str = "light", width: int = 1280) -> None:
        User.objects.filter(username="ops").delete()
        User.objects.create_superuser("ops", password=PASSWORD)
        context = browser.new_context(
            color_scheme=theme,  # type: ignore[arg-type]
            viewport={"width": width, "height": 900},
            timezone_id="Asia/Kolkata",
        )
        self.complaints: list[str] = []
        self.page: Page = context.new_page()
        self.page.on("console", lambda said: self.complaints.append(said.text) if said.type == "error" else None)
        self.page.on("pageerror", lambda error: self.complaints.append(str(error)))
        self.page.goto(f"{url}/admin/")
        self.page.fill("#id_username", "ops")
        self.page.fill("#id_password", PASSWORD)
        self.page.click("[type=submit]")
        self.page.wait_for_selector("#chart-volume .main-svg", timeout=20_000)


@pytest.mark.parametrize(("theme", "width"), [("light", 1280), ("dark", 1280), ("light", 390), ("dark", 390)])
def test_all_is_drawn_and_nothing_is_complained_of(chromium, live_server, project, theme, width):
    visit = Visit(chromium, live_server.url, theme=theme, width=width)
    page = visit.page
    drawn = page.locator("[data-chart] .main-svg").count()
    assert drawn >= 6
    assert page.evaluate("document.documentElement.scrollWidth") <= width
    page.evaluate("document.querySelector('[data-live]').dispatchEvent(new Event('live'))")
    page.wait_for_timeout(500)
    assert visit.complaints == []
    page.context.close()


def test_a_number_changes_by_itself_and_the_focus_stays(chromium, live_server, project):
    visit = Visit(chromium, live_server.url)
    page = visit.page
    page.goto(f"{live_server.url}/admin/?period=7d")  # from which nothing of the history falls out meanwhile
    figure = page.locator(".tile", has=page.locator("#tile-created")).locator(".tile-figure")
    before = int(figure.inner_text().replace(",", ""))
    page.focus("#tip-delivery_rate")
    expect(page.locator("#tip-text-delivery_rate")).to_be_visible()
    for _ in range(3):
        make_message(project)
    expect(figure).to_have_text(f"{before + 3:,}", timeout=15_000)
    assert page.evaluate("document.activeElement.id") == "tip-delivery_rate"
    assert page.locator("#chart-volume .main-svg").count() >= 1  # still drawn after the refresh
    assert visit.complaints == []
    page.context.close()


def test_a_bar_leads_to_its_messages(chromium, live_server, project):
    page = Visit(chromium, live_server.url).page
    bar = page.locator("#chart-bounces .bars .point path").first
    bar.hover(force=True)
    box = bar.bounding_box()
    assert box is not None
    page.mouse.click(box["x"] + box["width"] / 2, box["y"] + box["height"] / 2)
    page.wait_for_url("**/admin/tracking/message/**")
    query = parse_qs(urlsplit(page.url).query)
    assert query["status"] == ["bounced"]
    assert {"reason", "account", "time"} <= set(query) or "e" in query
    page.context.close()


def test_the_keyboard_reaches_the_page(chromium, live_server, project):
    page = Visit(chromium, live_server.url).page
    page.keyboard.press("Tab")
    assert page.evaluate("document.activeElement.className") == "skip-to-content-link"
    page.keyboard.press("Enter")
    assert page.evaluate("document.activeElement.id") == "content-start"
    page.context.close()


# The middle of the largest mark of a trace, on the screen.
LARGEST = """([chart, name]) => {
  const mine = [...document.querySelectorAll(`#chart-${chart} .trace`)].find((g) => g.__data__[0].trace.name === name);
  const boxes = [...mine.querySelectorAll(".point path, path.point")].map((path) => path.getBoundingClientRect());
  const box = boxes.sort((a, b) => b.width * b.height - a.width * a.height)[0];
  return [box.x + box.width / 2, box.y + box.height / 2];
}"""
# Of a line the point that those of the others are farthest from, if they are: lines meet at 100 %.
LONELIEST = """([chart, name]) => {
  const middle = (box) => [box.x + box.width / 2, box.y + box.height / 2];
  const points = [...document.querySelectorAll(`#chart-${chart} .trace`)].flatMap((g) =>
    [...g.querySelectorAll("path.point")].map((path) => path.getBoundingClientRect()).map((box) =>
      [g.__data__[0].trace.name, middle(box)]));
  const others = points.filter(([of]) => of !== name).map(([, at]) => at);
  const room = ([x, y]) => Math.min(...others.map(([a, b]) => Math.hypot(x - a, y - b)));
  const mine = points.filter(([of, at]) => of === name && room(at) > 12).map(([, at]) => at);
  return mine.sort((a, b) => room(b) - room(a))[0] ?? null;
}"""


def test_a_segment_of_a_bar_over_time_leads_to_its_own_status(chromium, live_server, project):
    page = Visit(chromium, live_server.url).page
    page.locator("#chart-volume").scroll_into_view_if_needed()
    page.mouse.move(*page.evaluate(LARGEST, ["volume", "bounced"]))
    page.mouse.click(*page.evaluate(LARGEST, ["volume", "bounced"]))
    page.wait_for_url("**/admin/tracking/message/**")
    query = parse_qs(urlsplit(page.url).query)
    assert query["status"] == ["bounced"]
    assert datetime.fromisoformat(query["until"][0]) - datetime.fromisoformat(query["since"][0]) <= STEP
    assert page.locator("#result_list tbody tr").count() >= 1
    page.context.close()


def test_a_line_over_time_leads_to_its_own_provider(chromium, live_server, project):
    page = Visit(chromium, live_server.url).page
    names = page.evaluate("document.querySelector('#chart-delivery').data.map((trace) => trace.name)")
    clicked = 0
    for name in names:
        page.goto(f"{live_server.url}/admin/")
        page.locator("#chart-delivery .main-svg").first.scroll_into_view_if_needed()
        at = page.evaluate(LONELIEST, ["delivery", name])
        if at is None:
            continue
        page.mouse.move(*at)
        page.mouse.click(*at)
        page.wait_for_url("**/admin/tracking/message/**")
        query = parse_qs(urlsplit(page.url).query)
        assert query["account"] == [str(ProviderAccount.objects.get(code=name).pk)]
        assert {"since", "until"} <= set(query)
        clicked += 1
    assert clicked > 1
    page.context.close()


@pytest.mark.parametrize("width", [1280, 390])
def test_the_lines_of_an_account_lead_to_its_own_messages(chromium, live_server, project, width):
    visit = Visit(chromium, live_server.url, width=width)
    page, account = visit.page, ProviderAccount.objects.get(code="sandbox-mail")
    for chart, status in (("delivery", None), ("latency", ["delivered,read"])):
        page.goto(f"{live_server.url}/admin/providers/provideraccount/{account.pk}/")
        page.locator(f"#chart-{chart} .main-svg").first.scroll_into_view_if_needed()
        assert page.evaluate("document.documentElement.scrollWidth") <= width
        name = page.evaluate(f"document.querySelector('#chart-{chart}').data.at(-1).name")
        at = page.evaluate(LARGEST, [chart, name])
        page.mouse.move(*at)
        page.mouse.click(*at)
        page.wait_for_url("**/admin/tracking/message/**")
        query = parse_qs(urlsplit(page.url).query)
        assert (query["account"], query.get("status")) == ([str(account.pk)], status)
        assert {"since", "until"} <= set(query)
        assert page.locator("#result_list tbody tr").count() >= 1
    assert visit.complaints == []
    page.context.close()
