"""The export that ChatAPI's document asks for: its own curl line against a live server, followed to the file."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Iterator
from datetime import UTC, date, datetime, timedelta
from hashlib import sha256
from ipaddress import ip_network
from pathlib import Path

import pytest
import requests
from pytest_httpserver import HTTPServer
from standardwebhooks import Webhook

from tests.builders import make_account, make_key, make_message, make_project
from tests.seeds.live import Live, blocks, run, serve
from tests.tracking.test_publish import answering
from tracking import jobs, loops
from tracking.models import Project

pytestmark = [pytest.mark.processes, pytest.mark.django_db(transaction=True)]
(SNIPPET,) = (block for block in blocks("chatapi-delivery-tracking", "bash") if "/v1/exports/" in block)
THEIR_ADDRESS = "https://yourapp.com/webhooks/export-complete"


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The directory that the web server and the workers share."""
    return tmp_path_factory.mktemp("exports")


@pytest.fixture(scope="module")
def live(django_db_setup: None, files: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Live]:
    log = tmp_path_factory.mktemp("live") / "log"
    with serve(log, WEBHOOK_NETWORKS="127.0.0.0/8", EXPORT_DIR=str(files)) as server:
        yield server


@pytest.fixture
def project(settings, live: Live, files: Path) -> Project:
    settings.WEBHOOK_NETWORKS, settings.EXPORT_DIR = (ip_network("127.0.0.0/8"),), files
    settings.PUBLIC_URL = live.url
    found = make_project()
    make_account(found)
    return found


def asked(live: Live, project: Project, **replaced: str) -> tuple[str, dict]:
    """The key, and the answer to the document's curl line."""
    key, line = make_key(project), SNIPPET
    for old, new in {"https://api.chatapi.dev": live.url, "YOUR_API_KEY": key, **replaced}.items():
        assert old in line
        line = line.replace(old, new)
    return key, json.loads(run("bash", line))


def test_the_snippet_as_it_stands(live, project):
    key, answer = asked(live, project)
    assert answer["status"] == "pending" and answer["format"] == "csv" and answer["webhook"]["url"] == THEIR_ADDRESS
    assert answer["filters"] == {"created_after": "2023-01-01T00:00:00Z", "created_before": "2024-01-01T00:00:00Z"}
    jobs.run("tracking.tasks.export_slice")
    found = live.request("GET", f"/v1/exports/{answer['id']}", key=key).json()
    assert found["status"] == "completed" and found["progress"] == {"rows": 0, "estimated_total": 0, "percent": 100}
    assert requests.get(found["download_url"], timeout=30).text == ",".join(found["columns"]) + "\n"


def test_a_period_with_messages_to_the_file_and_the_call(live, project, httpserver: HTTPServer):
    keys = [str(make_message(project)) for _ in range(3)]
    seen = answering(httpserver, 200)
    today = datetime.now(UTC).date()
    _, answer = asked(
        live,
        project,
        **{
            "2023-01-01": str(today - timedelta(days=1)),
            "2023-12-31": str(today),
            THEIR_ADDRESS: httpserver.url_for("/in"),
        },
    )
    assert date.fromisoformat(answer["filters"]["created_after"][:10]) == today - timedelta(days=1)
    jobs.run("tracking.tasks.export_slice")
    live.work(loops.PUBLISH)
    (request,) = seen
    payload = Webhook(answer["webhook"]["signing_secret"]).verify(request.data, dict(request.headers))
    assert payload["type"] == "export.complete" and payload["data"]["id"] == answer["id"]
    file = requests.get(payload["data"]["download_url"], timeout=30)  # without a key
    assert file.headers["Content-Type"].startswith("text/csv") and "attachment" in file.headers["Content-Disposition"]
    assert [row["id"] for row in csv.DictReader(io.StringIO(file.text))] == keys
    assert sha256(file.content).hexdigest() == payload["data"]["sha256"]


def test_what_is_refused_stores_nothing(live, project):
    key = make_key(project)
    wrong = {"format": "xml", "start_date": "2023-12-31", "end_date": "2023-01-01", "webhook_url": "http://10.0.0.1/"}
    refused = live.request("POST", "/v1/exports/delivery-data", key=key, json=wrong)
    assert refused.status_code == 422 and refused.json()["errors"][0]["pointer"] == "/format"
    assert live.request("GET", "/v1/exports", key=key).json()["exports"] == []
