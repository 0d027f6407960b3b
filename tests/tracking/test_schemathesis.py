"""The server does what the OpenAPI document says: schemathesis' own command asks every address with what it makes of
the document, valid and not."""

from __future__ import annotations

import os
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import orjson
import pytest

from tests import agreeing
from tests.builders import make_key
from tests.seeds.live import Live, serve
from tests.tracking.things_of_others import filled, open_project, session_of, things_of
from tracking.models import ChannelMessage, ChatMember, Message, Project, Visit

CHECKS = (
    *("not_a_server_error", "status_code_conformance", "content_type_conformance", "response_headers_conformance"),
    *("response_schema_conformance", "ignored_auth", "unsupported_method"),
)
SESSIONS = r"^/api/(v1|v3|v5)/"  # what a session asks, and what opens one; the log-out would end it for all others


@pytest.fixture
def live(tmp_path: Path) -> Iterator[Live]:
    with serve(tmp_path / "log", RATE_LIMIT="0", EXPORT_DIR=str(tmp_path)) as server:
        yield server


@pytest.fixture
def project(tmp_path: Path, settings: Any) -> Project:
    settings.EXPORT_DIR = tmp_path
    return open_project()


@pytest.fixture
def known(project: Project, tmp_path: Path) -> Path:
    path = tmp_path / "schema.json"
    path.write_bytes(orjson.dumps(_with_ids(project)))
    return path


def ask(live: Live, known: Path, *arguments: str, headers: dict[str, str]) -> None:
    """It follows no redirection to another port: the stream process is not asked, and nothing waits. One worker: with
    more, the parser of CPython 3.11, which hypothesis uses, fails now and then (“AST constructor recursion depth”)."""
    command = [
        *(sys.executable, "-m", "schemathesis.cli", "run", str(known), "--url", live.url, "--checks", ",".join(CHECKS)),
        *(part for name, value in headers.items() for part in ("--header", f"{name}:{value}")),
        *("--phases", "examples,coverage,fuzzing", "--max-examples", "5", "--seed", "1"),
        *("--suppress-health-check", "all", "--no-color", "--continue-on-failure"),
        *("--generation-deterministic", "--request-timeout", "20", "--warnings", "off", *arguments),
    ]
    done = subprocess.run(command, cwd=known.parent, env={**os.environ}, capture_output=True, text=True, timeout=250)
    assert done.returncode == 0, (done.stdout + done.stderr)[-8000:]


@pytest.mark.processes
@pytest.mark.timeout(280)
@pytest.mark.django_db(transaction=True)
def test_it_finds_nothing_where_a_key_is_shown(live: Live, project: Project, known: Path) -> None:
    """Or none: the public addresses, and those that take the key in the body."""
    key = make_key(project)
    headers = {"Authorization": f"Bearer {key}", "X-Authorization-Key": key}
    before = _count()
    ask(live, known, "--exclude-path-regex", SESSIONS, headers=headers)
    done = _count() - before
    assert all(done[each] for each in ("email", "sms", "push", "visits")), done  # not everything was refused


@pytest.mark.processes
@pytest.mark.timeout(280)
@pytest.mark.django_db(transaction=True)
def test_it_finds_nothing_in_a_session(live: Live, project: Project, known: Path) -> None:
    headers = {"Authorization": f"Bearer {session_of(project)}", "X-API-Key": make_key(project)}
    before = _count()
    ask(live, known, "--include-path-regex", SESSIONS, headers=headers)
    done = _count() - before
    assert all(done[each] for each in ("posts", "marks")), done


def _count() -> Counter[str]:
    """What requests that were taken have left."""
    found = Counter(Message.objects.values_list("channel", flat=True))
    read = ChatMember.objects.filter(read_to_segment__gt=0).count()
    return found + Counter(visits=Visit.objects.count(), posts=ChannelMessage.objects.count(), marks=read)


def _with_ids(project: Project) -> Any:
    """With an example for each part of a path, so that not every answer is 404. Each operation has things of its own:
    what one of them deletes is still there for the others."""
    copy = orjson.loads(orjson.dumps(agreeing.document()))
    for path, methods in copy["paths"].items():
        for operation in methods.values():
            _name(operation, things_of(project, path), path)
    return copy


def _name(operation: Any, things: dict[str, Any], path: str) -> None:
    for parameter in operation.get("parameters", ()):
        if parameter["name"] in things and (parameter["in"] == "path" or parameter.get("required")):
            parameter["example"] = str(things[parameter["name"]])
    for content in operation.get("requestBody", {}).get("content", {}).values():
        for example in content["examples"].values() if not path.startswith("/v1/") else ():
            example["value"] = filled(example["value"], things)
