"""SMSBat's page "Check Message Status", from its first line to its last, against a live server.

Its own snippets are run with host, key and message replaced, and nothing else.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import threading
from collections.abc import Iterator
from dataclasses import dataclass
from decimal import Decimal
from http.server import BaseHTTPRequestHandler, HTTPServer
from ipaddress import ip_network
from pathlib import Path
from typing import Any, ClassVar
from uuid import UUID, uuid4

import pytest

from providers.models import ProviderAccount
from tests.builders import make_account, make_endpoint, make_key, make_project
from tests.seeds.live import DOCUMENTS, Live, blocks, run
from tests.seeds.reading import NOTHING, read_whole
from tests.tracking.test_fallback import tell
from tracking.models import Project
from tracking.services import logins

pytestmark = [pytest.mark.processes, pytest.mark.django_db(transaction=True)]
NAME = "smsbat-message-status"
HOST, KEY, MESSAGE = "https://restapi.smsbat.com", "your-api-key", "abc123def456"
TEXT = (DOCUMENTS / f"{NAME}.txt").read_text()
EXAMPLES = [json.loads(block) for block in blocks(NAME, "json") if block.startswith("{")]
BASIC, EXTENDED = EXAMPLES[0], EXAMPLES[1]
REACHED, REFUSED = "+380501230001", "+380501230008"  # what the simulated carrier does with them


@dataclass
class Shop:
    """A client of SMSBat's that was given a key and another host."""

    live: Live
    project: Project
    key: str

    def send(self, to: str = REACHED, **kw: Any) -> str:
        """A message of 0.05, as its page on sending says; its messageId."""
        item = {"from": "Shop", "to": to, "type": "sms", "text": "Your order is on its way", **kw}
        answer = self.live.request("POST", "/bat/messagelist", headers=self.headers, json={"messages": [item]})
        assert answer.status_code == 200, answer.text
        found: str = answer.json()["messages"][0]["messageId"]
        return found

    def work(self) -> None:
        self.live.work("dispatch", seconds=0.5)

    def status(self, message: str) -> dict[str, Any]:
        answer = self.live.request("GET", f"/bat/message/{message}", headers=self.headers)
        assert answer.status_code == 200, answer.text
        found: dict[str, Any] = answer.json()
        return found

    def delivered(self, **kw: Any) -> str:
        """A message that arrived."""
        message = self.send(**kw)
        self.work()
        tell(UUID(message), 1)
        return message

    def undelivered(self) -> str:
        message = self.send(REFUSED)
        self.work()
        return message

    @property
    def headers(self) -> dict[str, str]:
        return {"X-Authorization-Key": self.key}

    def mine(self, code: str, message: str = "") -> str:
        return code.replace(HOST, self.live.url).replace(KEY, self.key).replace(MESSAGE, message or MESSAGE)


@pytest.fixture
def shop(live: Live) -> Shop:
    project = make_project()
    price = {"price_per_part": Decimal("0.05"), "currency": "USD", "settings": {"profile": "instant"}}
    make_account(project, channel="sms", **price)
    make_account(project, channel="chat", service="viber", **price)
    return Shop(live, project, make_key(project))


# --- "Authentication"


def test_its_curl_lines_authenticate_in_three_ways(shop: Shop) -> None:
    message = shop.delivered()
    password = logins.create(project=shop.project, username="username")
    lines = blocks(NAME, "bash")
    assert len(lines) == 3
    for line in lines:
        printed = run("bash", shop.mine(line, message).replace("username:password", f"username:{password}"))
        assert json.loads(printed)["messageId"] == message


# --- "Response"


def test_the_basic_response(shop: Shop) -> None:
    found = shop.status(shop.delivered())
    assert isinstance(found["messagelistId"], int)
    assert {**found, "messagelistId": 123456, "messageId": MESSAGE} == BASIC


def test_the_table_of_fields_is_the_answers(shop: Shop) -> None:
    rows = re.findall(r"^\| `(\w+)` \| (integer|string|number) \| (?!Yes)", TEXT, re.MULTILINE)
    kinds: dict[str, Any] = {"integer": int, "string": str, "number": (int, float)}
    found = shop.status(shop.delivered())
    assert {name for name, _ in rows} == found.keys()
    assert all(isinstance(found[name], kinds[kind]) for name, kind in rows)


def test_the_extended_response(shop: Shop) -> None:
    message = shop.delivered(type="viber_promo", fallback={"type": "sms", "text": "by SMS"})
    found = shop.status(message)
    assert {**found, "messagelistId": 123456, "messageId": MESSAGE} == EXTENDED


def test_without_a_fallback_the_additional_fields_are_absent(shop: Shop) -> None:
    assert shop.status(shop.delivered()).keys() == BASIC.keys()


# --- "Delivery Status Values" and "Status Lifecycle"


def test_every_status_of_its_life_is_reached_with_its_fields(shop: Shop) -> None:
    waits = shop.send()
    seen = [shop.status(waits)]
    shop.work()
    seen.append(shop.status(waits))
    tell(UUID(waits), 1)
    seen += [shop.status(waits), shop.status(shop.undelivered())]
    dropped = shop.send(ttl=1)
    ProviderAccount.objects.update(enabled=False)
    threading.Event().wait(1.1)  # its ttl, of which a second is the least
    shop.live.work("dispatch", seconds=1)
    seen.append(shop.status(dropped))
    for found, example in zip(seen, EXAMPLES[2:7], strict=True):
        assert example.items() <= found.items()  # cost 0.00 where it failed
    table = TEXT.partition("## Delivery Status Values")[2].partition("##")[0]
    assert [found["deliverystatus"] for found in seen] == re.findall(r"^\| `(\w+)` ", table, re.MULTILINE)


def test_an_unknown_message(shop: Shop) -> None:
    answer = shop.live.request("GET", f"/bat/message/{uuid4()}", headers=shop.headers)
    assert answer.status_code == 404
    assert answer.json()["error"]["code"] == "NOT_FOUND"


# --- "Check Multiple Messages" and "Polling for Status Updates"

MANY, POLL, NODE, RETRY, CACHE, BATCHES, ORDER, FACTORS, CAMPAIGN = blocks(NAME, "javascript")


def test_many_are_checked(shop: Shop) -> None:
    messages = [shop.delivered() for _ in range(3)]
    code = shop.mine(MANY).replace("['abc123', 'def456', 'ghi789']", json.dumps(messages))
    assert run("javascript", code).splitlines() == [f"Message {message}: delivered" for message in messages]


def test_the_poller_ends_with_a_delivery_and_with_a_failure(shop: Shop) -> None:
    for message, success in ((shop.delivered(), True), (shop.undelivered(), False)):
        ask = f"console.log(JSON.stringify(await waitForDelivery('{message}')))"
        result = json.loads(run("javascript", shop.mine(POLL) + ask))
        assert result == {"success": success, "status": shop.status(message)}


def test_the_poller_waits_for_a_message_on_its_way(shop: Shop) -> None:
    """Its own five seconds pass once."""
    message = shop.send()
    shop.work()
    ask = f"console.log(JSON.stringify(await waitForDelivery('{message}', 1)))"
    assert json.loads(run("javascript", shop.mine(POLL) + ask)) == {"success": False, "timeout": True}


# --- "Webhook Alternative"


class Receiver(BaseHTTPRequestHandler):
    got: ClassVar[list[dict[str, Any]]] = []

    def do_POST(self) -> None:
        self.got.append(json.loads(self.rfile.read(int(self.headers["Content-Length"]))))
        self.send_response(200)
        self.end_headers()

    def log_message(self, *_: Any) -> None:
        pass


@pytest.fixture
def receiver(settings: Any) -> Iterator[str]:
    settings.WEBHOOK_NETWORKS = (ip_network("127.0.0.0/8"),)
    Receiver.got.clear()
    server = HTTPServer(("127.0.0.1", 0), Receiver)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}/webhook"
    server.shutdown()
    server.server_close()


def test_the_webhook_has_its_form(shop: Shop, receiver: str) -> None:
    make_endpoint(shop.project, receiver, style="smsbat", events=["notification.delivered"])
    message = shop.delivered()
    shop.live.work("publish", seconds=1.5)
    (posted,) = [block for block in blocks(NAME, "json") if block.startswith("POST")]
    example = json.loads(posted.partition("\n")[2])
    (got,) = Receiver.got
    assert got | {"messageId": MESSAGE, "timestamp": example["timestamp"]} == example
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ", got["timestamp"])
    assert got["messageId"] == message


# --- "Implementation Examples"


def test_its_python(shop: Shop) -> None:
    (code,) = blocks(NAME, "python")
    assert run("python", shop.mine(code, shop.delivered())) == "Message delivered! Cost: 0.05\n"
    assert run("python", shop.mine(code, shop.undelivered())) == "Message delivery failed or timeout\n"


def test_its_php(shop: Shop) -> None:
    (code,) = blocks(NAME, "php")
    assert run("php", shop.mine(code, shop.delivered())).strip() == "Message delivered! Cost: 0.05"
    assert run("php", shop.mine(code, shop.undelivered())).strip() == "Message delivery failed or timeout"


@pytest.fixture(scope="module")
def axios(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The library that its example for Node.js is written with."""
    absent = pytest.fail if os.environ.get("CI") else pytest.skip
    npm = shutil.which("npm")
    if npm is None:
        absent("there is no npm here")
    place = tmp_path_factory.mktemp("axios")
    command = [str(npm), "install", "--no-audit", "--no-fund", "--silent", "--prefix", str(place), "axios@1"]
    if subprocess.run(command, capture_output=True, timeout=300).returncode:
        absent("axios cannot be installed here")
    return place


def node(axios: Path, code: str, call: str = "") -> str:
    """What it prints as a CommonJS script, which its `require` makes of it. `call`: what is asked of its functions."""
    script = axios / f"{uuid4().hex}.js"
    script.write_text(f"(async () => {{\n{code}\n{call}\n}})()")
    ended = subprocess.run(["node", str(script)], capture_output=True, text=True, timeout=60)
    assert ended.returncode == 0, ended.stderr
    return ended.stdout


def test_its_node(shop: Shop, axios: Path) -> None:
    assert node(axios, shop.mine(NODE, shop.delivered())) == "Message delivered! Cost: 0.05\n"
    assert node(axios, shop.mine(NODE, shop.undelivered())) == "Message delivery failed or timeout\n"


# --- "Best Practices"


def test_errors_are_errors_of_http(shop: Shop) -> None:
    message = shop.delivered()
    ask = f"console.log((await checkStatusWithRetry('{message}', '{shop.key}')).deliverystatus);"
    code = shop.mine(RETRY)
    assert run("javascript", code + ask) == "delivered\n"
    ask = f"await checkStatusWithRetry('{uuid4()}', '{shop.key}', 1).catch(error => console.log(error.message))"
    assert run("javascript", code + ask) == "HTTP 404\n"


def functions(shop: Shop) -> str:
    """Those of its example for Node.js that the others call."""
    return shop.mine(NODE).partition("// Usage")[0]


def test_caching_and_batches(shop: Shop, axios: Path) -> None:
    messages = [shop.delivered() for _ in range(3)]
    ask = f"const found = await checkBatchStatus({json.dumps(messages)}, '{shop.key}', 2);"
    ask += "console.log(found.map(each => each.deliverystatus).join());"
    ask += f"console.log(await getCachedStatus('{messages[0]}', '{shop.key}') ==="
    ask += f" await getCachedStatus('{messages[0]}', '{shop.key}'))"
    printed = node(axios, functions(shop) + CACHE + BATCHES, ask)
    assert printed.splitlines() == ["delivered,delivered,delivered", "true"]


# --- "Use Cases"


def test_its_use_cases(shop: Shop, axios: Path) -> None:
    """With what they take for granted: how messages are sent, and that five minutes pass."""
    reached, refused = shop.delivered(), shop.undelivered()
    given = f"""
    const apiKey = '{shop.key}', orderId = 7, customer = {{}}, userPhone = '', otpCode = '', userEmail = '';
    const recipientList = [];
    const sendMessage = async () => ({{messageId: '{reached}'}}), sendOTP = async () => ({{messageId: '{refused}'}});
    const updateOrder = async (id, change) => console.log(id, change.notificationSent);
    const scheduleRetry = async () => console.log('retry'), sendEmailOTP = async () => console.log('by e-mail');
    const sendCampaign = async () => ['{reached}', '{refused}'];
    const setTimeout = callback => callback();
    """
    printed = node(axios, functions(shop) + BATCHES + given + ORDER + FACTORS + CAMPAIGN)
    assert printed.splitlines() == ["7 true", "by e-mail", "Delivery rate: 50%"]


# --- the whole of it


def test_the_document_was_read_whole() -> None:
    """Its headings, and the tests that show what stands below them."""
    prose = re.sub(r"^( *)```.*?^\1```", "", TEXT, flags=re.DOTALL | re.MULTILINE)
    lines = re.findall(r"^(?:#+ |=== )(.+)$", prose, re.MULTILINE)
    keys, life = (
        "test_its_curl_lines_authenticate_in_three_ways",
        "test_every_status_of_its_life_is_reached_with_its_fields",
    )
    pollers = "test_the_poller_ends_with_a_delivery_and_with_a_failure test_the_poller_waits_for_a_message_on_its_way"
    shown_by = {
        "Check Message Status": NOTHING,
        "Endpoint": "test_the_basic_response",
        "Request": NOTHING,
        "URL Parameters": "test_the_basic_response test_an_unknown_message",
        "Authentication": keys,
        '"API Key Header"': keys,
        '"HTTP Basic Auth"': keys,
        '"API Key as Password"': keys,
        "Response": NOTHING,
        "Basic Response": "test_the_basic_response",
        "Response Fields": "test_the_table_of_fields_is_the_answers",
        "Extended Response": "test_the_extended_response test_without_a_fallback_the_additional_fields_are_absent",
        "Delivery Status Values": life,
        "Status Lifecycle": life,
        "Scheduled": life,
        "Processing": life,
        "Delivered": life,
        "Undeliverable": life,
        "Permanent Error": life,
        "Check Multiple Messages": "test_many_are_checked",
        "Polling for Status Updates": pollers,
        "Webhook Alternative": "test_the_webhook_has_its_form",
        "Implementation Examples": NOTHING,
        "Python": "test_its_python",
        "PHP": "test_its_php",
        "Node.js": "test_its_node",
        "Best Practices": NOTHING,
        "Polling Frequency": pollers,
        "Error Handling": "test_errors_are_errors_of_http",
        "Caching": "test_caching_and_batches",
        "Batch Processing": "test_caching_and_batches",
        "Use Cases": NOTHING,
        "Order Confirmation": "test_its_use_cases",
        "Two-Factor Authentication": "test_its_use_cases",
        "Marketing Campaigns": "test_its_use_cases",
        "Next Steps": NOTHING,
    }
    read_whole(lines, shown_by)
