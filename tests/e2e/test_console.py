"""The console in a real browser, on a whole installation with real workers: what operators do all day."""

from __future__ import annotations

import re
from collections.abc import Iterator

import pytest
from playwright.sync_api import Browser, BrowserContext, Page, Playwright, expect

from tests.e2e import browsing
from tests.e2e.browsing import Complaints, log_in
from tests.e2e.harness import Stack, sandbox, until

pytestmark = [pytest.mark.processes, pytest.mark.timeout(400)]

BRISK = {"preset": "perfect", "answer": [0, 0.01], "accept": [0, 0.1], "deliver": [0, 0.3], "opened": 0}
MAKE_OPERATOR = (
    "from django.contrib.auth.models import User;"
    f"User.objects.create_superuser('operator', 'operator@example.com', '{browsing.PASSWORD}')"
)
ONE_OF_EACH = "from tests.e2e import one_of_each; one_of_each.show('e2e')"
# Now instead of within a minute; a worker does it, and nothing else.
RUN_ALERTS = "from tracking import jobs; jobs.later('dashboard.tasks.alert_tick')"
# Pages without an id. Those of single objects come from one_of_each.
PAGES = (
    "",
    "?period=7d",
    "tracking/message/",
    "tracking/message/?status=failed&columns=recipient&columns=status",
    "tracking/batch/",
    "dashboard/bulkoperation/",
    "tracking/export/",
    "dashboard/savedview/",
    "dashboard/savedview/add/",
    "dashboard/incident/",
    "dashboard/alertrule/",
    "dashboard/alertrule/add/",
    "dashboard/alertchannel/",
    "dashboard/alertchannel/add/",
    "providers/provideraccount/",
    "providers/provideraccount/add/",
    "providers/errormapping/",
    "providers/errormapping/add/",
    "tracking/inbound/",
    "tracking/unmatched/",
    "tracking/suppression/",
    "tracking/suppression/add/",
    "tracking/consent/",
    "tracking/consent/add/",
    "tracking/device/",
    "tracking/chatchannel/",
    "tracking/erasure/",
    "tracking/erasure/add/",
    "tracking/project/",
    "tracking/project/add/",
    "tracking/apikey/",
    "tracking/apikey/add/",
    "tracking/login/",
    "tracking/login/add/",
    "tracking/endpoint/",
    "tracking/delivery/",
    "system/",
    "tracking/switch/",
    "tracking/retention/",
    "auditlog/logentry/",
    "auth/user/",
    "auth/user/add/",
    "auth/group/",
    "second-factor/",
    "password_change/",
)


@pytest.fixture(scope="module")
def stack(database: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    browsing.chromium()  # before anything is started for nothing
    installation = Stack(tmp_path_factory.mktemp("console"), database, [sandbox("box", profile=BRISK)])
    installation.run("manage.py", "collectstatic", "--no-input")
    with installation as stack:
        stack.run("manage.py", "shell", "-c", MAKE_OPERATOR)
        yield stack


@pytest.fixture(scope="module")
def objects(stack: Stack) -> list[str]:
    """Pages of single objects."""
    return stack.run("manage.py", "shell", "--no-imports", "-c", ONE_OF_EACH).decode().split()


@pytest.fixture(scope="module")
def launched() -> Iterator[tuple[Playwright, Browser]]:
    with browsing.launched() as found:
        yield found


@pytest.fixture(scope="module")
def playwright(launched: tuple[Playwright, Browser]) -> Playwright:
    return launched[0]


@pytest.fixture(scope="module")
def browser(launched: tuple[Playwright, Browser]) -> Browser:
    return launched[1]


@pytest.fixture(scope="module")
def browser_context_args() -> dict[str, object]:
    """pytest-playwright's own wants a browser for the whole session."""
    return {}


@pytest.fixture
def complaints() -> Iterator[Complaints]:
    found = Complaints()
    yield found
    assert found.found == []


@pytest.fixture
def console(stack: Stack, context: BrowserContext, complaints: Complaints) -> Page:
    """Somebody who has logged in."""
    page = context.new_page()
    complaints.listen(page)
    log_in(page, stack.url)
    return page


def failed(stack: Stack, recipient: str) -> str:
    """A message whose first and only attempt fails; another one would succeed."""
    message = stack.send("box", recipient, retry={"max_attempts": 1})["id"]
    stack.await_status(message, "failed")
    return str(message)


def address(stack: Stack, path: str) -> str:
    return f"{stack.url}/admin/{path}"


def test_a_wrong_password_says_so(stack: Stack, page: Page):
    page.goto(address(stack, ""))
    page.get_by_label("Username").fill("operator")
    page.get_by_label("Password").fill("wrong")
    page.get_by_role("button", name="Log in").click()
    expect(page.get_by_text("Please enter the correct username and password")).to_be_visible()


def test_a_failed_message_is_retried_and_seen_delivered(stack: Stack, console: Page):
    message = failed(stack, "unreachable+retry@example.org")
    console.goto(address(stack, f"tracking/message/?q=id:{message}"))
    console.locator("#result_list tbody a").first.click()
    expect(console.get_by_role("heading", level=1)).to_contain_text("unreachable+retry@example.org")
    console.get_by_role("button", name="Retry", exact=True).click()
    stack.await_status(message, "delivered")
    console.goto(address(stack, f"tracking/message/{message}/change/"))
    expect(console.locator(".headline .pill")).to_contain_text("delivered")
    expect(console.locator("p.summary")).to_contain_text("attempt 2")


def test_a_bulk_retry_runs_to_its_end(stack: Stack, console: Page):
    # fewer than open the account's circuit
    messages = [failed(stack, f"unreachable+bulk{number}@example.org") for number in range(3)]
    console.goto(address(stack, "tracking/message/?status=failed"))
    console.get_by_role("link", name=re.compile("^Retry…")).first.click()
    expect(console.get_by_role("heading", name="What would be done")).to_be_visible()
    console.get_by_label("Why").fill("the carrier was away")
    console.get_by_role("button", name=re.compile("^Retry ")).click()
    expect(console.locator("#progress")).to_contain_text("of 3 messages")
    expect(console.locator("#progress .headline")).to_contain_text("done", timeout=60_000)
    for message in messages:
        stack.await_status(message, "delivered")


def test_what_a_message_says_is_shown_and_runs_nothing(stack: Stack, page: Page):
    """The browser itself reports what the preview's sandbox refuses, so its complaints are no fault here."""
    log_in(page, stack.url)
    hostile = "<script>document.title='taken'</script><img src=x onerror=alert(1)>"
    message = stack.send(
        "box", "ada@example.org", subject=hostile, content={"html": f"<h1>Hello</h1>{hostile}"}, tags=[hostile[:40]]
    )["id"]
    stack.await_status(message, "delivered")
    page.goto(address(stack, f"tracking/message/{message}/change/"))
    page.wait_for_load_state("networkidle")
    expect(page.get_by_text(hostile).first).to_be_visible()
    assert "taken" not in page.title()


def test_pausing_and_resuming(stack: Stack, console: Page):
    console.goto(address(stack, "system/"))
    console.get_by_label("Reason to pause all sending").fill("a test")
    console.get_by_role("button", name="Pause").first.click()
    until(lambda: stack.value("SELECT count(*) FROM tracking_switch WHERE sending_paused") == 1, 10, "it is not paused")
    held = stack.send("box", "held@example.org")["id"]
    console.goto(address(stack, "system/"))
    console.get_by_role("button", name=re.compile("Resume", re.I)).first.click()
    stack.await_status(held, "delivered")


def watch_failures(stack: Stack, console: Page, *, category: str, rule: str) -> None:
    """A saved view of one category, and a rule on it."""
    console.goto(address(stack, f"tracking/message/?category={category}"))
    console.get_by_role("link", name="Save this view").click()
    console.get_by_label("Name").fill(category)
    console.get_by_role("button", name="Save", exact=True).click()
    console.goto(address(stack, "dashboard/alertrule/add/"))
    console.locator("#id_name").fill(rule)
    console.locator("#id_kind").select_option("failure_high")
    console.locator("#id_view").select_option(label=category)
    console.locator("#id_threshold").fill("50")
    console.locator("#id_minimum").fill("4")
    console.get_by_role("button", name="Save", exact=True).click()
    expect(console.get_by_text("is saved; it is looked at each minute")).to_be_visible()


def test_an_incident_opens_by_itself_and_is_acknowledged(stack: Stack, console: Page):
    rule = "Too many notices fail"
    watch_failures(stack, console, category="notices", rule=rule)
    console.goto(address(stack, "?period=1h"))
    expect(console.get_by_text(rule)).to_have_count(0)
    messages = [
        stack.send("box", f"permanent+notice{number}@example.org", category="notices")["id"] for number in range(5)
    ]
    for message in messages:
        stack.await_status(message, "failed")
    stack.run("manage.py", "shell", "--no-imports", "-c", RUN_ALERTS)
    tile = console.locator(".tile", has=console.locator("#tile-incidents"))
    expect(tile).to_contain_text(rule, timeout=30_000)  # the page refreshes itself
    expect(tile.locator(".tile-figure")).not_to_have_text("0")
    console.locator("#tile-incidents").click()
    console.get_by_role("link", name=rule).first.click()
    expect(console.locator("#content-main")).to_contain_text("100 %")
    console.get_by_text("Acknowledge…").click()
    console.get_by_label("Note").first.fill("the text is at fault")
    console.locator("#deed-acknowledge").click()
    expect(console.locator(".headline .pill").first).to_contain_text("acknowledged")
    expect(console.locator(".timeline")).to_contain_text("the text is at fault")
    kept = stack.query("SELECT acknowledged_by, closed_at, worst_value FROM dashboard_incident WHERE name = %s", rule)
    assert kept == [("operator", None, 100.0)]
    console.get_by_role("link", name="Messages", exact=True).last.click()
    expect(console.locator("#result_list tbody tr")).to_have_count(len(messages))


@pytest.mark.parametrize("width", [1280, 390])
@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_every_page_is_quiet_and_fits(
    stack: Stack, browser: Browser, complaints: Complaints, objects: list[str], scheme: str, width: int
):
    """No script error, no violation of the CSP, no failed request, and nothing wider than the window."""
    message = stack.send("box", "ada@example.org")["id"]
    stack.await_status(message, "delivered")
    context = browser.new_context(viewport={"width": width, "height": 900}, color_scheme=scheme)  # type: ignore[arg-type]
    page = context.new_page()
    complaints.listen(page)
    log_in(page, stack.url)
    too_wide = []
    for path in (*PAGES, f"tracking/message/{message}/change/", *objects):
        page.goto(address(stack, path))
        page.wait_for_load_state("networkidle")
        if page.evaluate("document.documentElement.scrollWidth") > width:
            too_wide.append(path)
    context.close()
    assert too_wide == []


def test_the_menu_of_a_narrow_screen(stack: Stack, browser: Browser, complaints: Complaints):
    context = browser.new_context(viewport={"width": 390, "height": 800})
    page = context.new_page()
    complaints.listen(page)
    log_in(page, stack.url)
    link = page.locator("#rail").get_by_role("link", name="Channels", exact=True)
    expect(link).to_be_hidden()
    page.get_by_role("button", name="Menu").click()
    expect(link).to_be_visible()
    page.keyboard.press("Escape")
    expect(link).to_be_hidden()
    page.get_by_role("button", name="Menu").click()
    link.click()
    page.wait_for_url("**/tracking/chatchannel/")
    page.set_viewport_size({"width": 1280, "height": 800})
    expect(page.get_by_role("button", name="Menu")).to_be_hidden()
    expect(link).to_have_attribute("aria-current", "page")
    context.close()
