"""Whatever is sent to the API: a 4xx problem that names the field, and nothing stored. Never a 500."""

# ruff: noqa: E501 - tables of inputs are read better wide

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from django.http import HttpResponse
from django.test import Client

from tests.builders import make_account, make_key, make_project
from tracking import schema
from tracking.models import Batch, Content, Event, IdempotencyKey, Message, MetricDelta, QueueRow

pytestmark = pytest.mark.django_db

MEBIBYTE = 1024 * 1024
EMAIL = {"channel": "email", "recipient": "ada@example.org", "content": {"text": "Hello"}}
SMS = {"channel": "sms", "recipient": "+4915112345678", "content": {"text": "Hello"}}
PUSH = {"channel": "push", "recipient": "token-0123456789", "content": {"text": "Hello"}}
CHAT = {"channel": "chat", "recipient": "ada", "content": {"text": "Hello"}}
FILE = {"filename": "a.txt", "content_type": "text/plain", "content": "aGFsbG8="}
NOW = datetime.now(UTC)
BODIES = {"text", "html", "data"}
PYDANTICS = re.compile(r"Input|Value|should|instance|[Dd]ictionary")  # a caller knows fields and JSON, not our library


@pytest.fixture
def key() -> str:
    project = make_project()
    for channel in ("email", "sms", "push", "chat"):
        make_account(project, code=f"a-{channel}", channel=channel)
    return make_key(project)


@pytest.fixture
def client(key: str) -> Client:
    return Client(headers={"Authorization": f"Bearer {key}"})


@pytest.fixture(autouse=True)
def nothing_stored() -> Iterator[None]:
    yield
    for model in (Message, Content, Event, QueueRow, Batch, IdempotencyKey, MetricDelta):
        assert not model.objects.exists(), model


def check(answer: HttpResponse, status: int) -> Any:
    assert answer.status_code == status, answer.content[:500]
    assert answer["Content-Type"] == "application/problem+json"
    problem = answer.json()
    assert problem["status"] == status
    assert problem["type"].startswith("urn:postroom:")
    assert problem["detail"]
    return problem


def nested(depth: int) -> dict[str, Any]:
    value: dict[str, Any] = {"end": 1}
    for _ in range(depth):
        value = {"in": value}
    return value


# (the field that the answer must name, what is sent)
FIELDS: list[tuple[str, dict[str, Any]]] = [
    # the channel
    *(("/channel", {**EMAIL, "channel": value}) for value in ("pigeon", "", "Email", None, 1, ["email"], {}, "email\0")),
    ("/channel", {"recipient": "ada@example.org", "content": {"text": "x"}}),
    # e-mail recipients
    *(
        ("/recipient", {**EMAIL, "recipient": value})
        for value in (
            *("", " ", "ada", "ada@", "@example.org", "ada@example", "ada@@example.org", "ada@example..org"),
            *("ada@-example.org", "ada example@example.org", "ada@example.org\n", "ada\0@example.org", "a,b@example.org"),
            *("Ada <ada@example.org>", "ada@example.org, ben@example.org", "a" * 400 + "@example.org", "é\u0085@example.org"),
            *("ada@exa\u200bmple.org", "ada@example.org\r\nBcc: eve@example.org", "\u202eada@example.org", "ada@" + "a" * 300),
            *(None, 7, True, ["ada@example.org"], {"to": "ada@example.org"}, 1.5),
        )
    ),
    # phone numbers
    *(
        ("/recipient", {**SMS, "recipient": value})
        for value in (
            *("", "+", "+49", "12345", "015112345678", "+999123456789", "phone", "+1 FLOWERS", "++4915112345678"),
            *("+49151123456789012345", "tel:+4915112345678", "+4915112345678;ext=5", "+4915112345678\0", "ada@example.org"),
            *("+٤٩١٥١١٢٣٤٥٦٧٨", None, 4915112345678, "+" + "1" * 499),
        )
    ),
    # device tokens and chat addresses
    *(("/recipient", {**PUSH, "recipient": v}) for v in ("", "short", "a b" * 5, "\0" * 9, "tok\n" * 4, "x" * 501, None, 12345678)),
    *(("/recipient", {**CHAT, "recipient": v}) for v in ("", " ", "x" * 201, "a\0b", "a\nb", None, 7)),
    # one or several
    ("/recipient", {"channel": "email", "content": {"text": "x"}}),
    ("/recipient", {**EMAIL, "recipients": ["ben@example.org"]}),
    *(
        (pointer, {"channel": "email", "content": {"text": "x"}, "recipients": value})
        for pointer, value in (
            ("/recipients", []),
            ("/recipients", "ada@example.org"),
            ("/recipients", {"0": "ada@example.org"}),
            ("/recipients", ["ada@example.org"] * 1001),
            ("/recipients/1", ["ada@example.org", "nobody"]),
            ("/recipients/1", ["ada@example.org", None]),
            ("/recipients/0", [["ada@example.org"]]),
        )
    ),
    # content
    *(("/content", {**EMAIL, "content": value}) for value in ("Hello", [], None, 7, {})),
    ("/content", {"channel": "email", "recipient": "ada@example.org"}),
    ("/content", {**EMAIL, "content": {"text": ""}}),
    *((f"/content/{name}", {**EMAIL, "content": {name: value}}) for name in BODIES for value in (7, None, [], True)),
    *((f"/content/{name}", {**EMAIL, "content": {name: "a\0b"}}) for name in ("text", "html")),
    ("/content/text", {**EMAIL, "content": {"text": "x" * 1_000_001}}),
    ("/content/markdown", {**EMAIL, "content": {"markdown": "x"}}),
    *(
        ("/content/data", {**EMAIL, "content": {"data": value}})
        for value in ({"\0": 1}, {"a": "\0"}, {"a": [{"b": "x\0"}]}, nested(25), {"a": [0] * 60_000}, "x", [1])
    ),
    *(
        (f"/{name}", {**EMAIL, name: value})
        for name in ("metadata", "variables")
        for value in ("x", [], 7, None, {"a": "\0"}, {"\0": "a"}, nested(30), {"a": 1e20}, {"a": [-(10**40)]}, {"a": 2**63})
    ),
    # texts
    *((f"/{name}", {**EMAIL, name: 7}) for name in ("subject", "sender", "template_id", "external_id", "category", "reply_to")),
    *((f"/{name}", {**EMAIL, name: "a\0b"}) for name in ("subject", "sender", "template_id", "external_id", "category")),
    *((f"/{name}", {**EMAIL, name: "a\r\nBcc: eve@example.org"}) for name in ("subject", "sender", "category")),
    *(
        (f"/{name}", {**EMAIL, name: "x" * (length + 1)})
        for name, length in (("subject", 998), ("template_id", 200), ("external_id", 200), ("category", 100), ("provider", 50))
    ),
    *(("/sender", {**EMAIL, "sender": value}) for value in ("Ada", "Ada <ada>", "<>", "a@b.de, c@d.de", "Ada <a@b.de> x")),
    *(("/reply_to", {**EMAIL, "reply_to": value}) for value in ("ada", "", [], "a@b.de\n")),
    # other recipients, headers, attachments
    *(
        (pointer, {**EMAIL, name: value})
        for name in ("cc", "bcc")
        for pointer, value in (
            (f"/{name}", "ada@example.org"),
            (f"/{name}/0", ["nobody"]),
            (f"/{name}/1", ["ada@example.org", 7]),
            (f"/{name}", ["ada@example.org"] * 51),
        )
    ),
    *(("/headers", {**EMAIL, "headers": value}) for value in ({"a b": "x"}, {"": "x"}, {"X\r\nY": "x"}, {"X:": "x"}, [], "X: y")),
    *(("/headers/X-A", {**EMAIL, "headers": {"X-A": value}}) for value in (7, "a\nb", "a\0", None, ["x"], "x" * 2001)),
    ("/headers", {**EMAIL, "headers": {f"X-{n}": "x" for n in range(51)}}),
    *(("/attachments", {**EMAIL, "attachments": value}) for value in ("x", {}, [FILE] * 21)),
    *(
        (f"/attachments/0/{name}", {**EMAIL, "attachments": [{**FILE, name: value}]})
        for name, value in (
            *(("filename", ""), ("filename", "a\0"), ("filename", "a\nb"), ("filename", 7), ("content_type", "text")),
            *(("content_type", "text/plain\r\nX: y"), ("content", "not base64!"), ("content", "aGFsbG8"), ("content", "")),
            *(("content", 7), ("inline_id", "a\nb"), ("size", 5)),
        )
    ),
    ("/attachments/0/content", {**EMAIL, "attachments": [{"filename": "a", "content_type": "text/plain"}]}),
    *((f"/{name}", {**SMS, name: v}) for name, v in (("cc", ["a@b.de"]), ("headers", {"X": "y"}), ("attachments", [FILE]))),
    # tags, priority, times, retry
    *(("/tags", {**EMAIL, "tags": value}) for value in ("x", {"a": 1}, ["x"] * 21)),
    *(("/tags/0", {**EMAIL, "tags": [value]}) for value in ("", 7, None, "x" * 101, "a\0", "a\nb")),
    *(("/priority", {**EMAIL, "priority": value}) for value in (-1, 10, "1", 1.5, True, None, 10**12, 1e300, "high")),
    *(
        (f"/{name}", {**EMAIL, name: value})
        for name in ("scheduled_at", "expires_at")
        for value in (
            *("tomorrow", "", 1700000000, "2026-13-01T00:00:00Z", "2026-01-01", "2026-01-01T00:00:00", "12:00", [], True),
            *("9999-12-31T23:59:59-14:00", "0001-01-01T00:00:00+14:00", "2026-02-30T00:00:00Z", "2026-01-01T25:00:00Z"),
        )
    ),
    ("/scheduled_at", {**EMAIL, "scheduled_at": (NOW + timedelta(days=31)).isoformat()}),
    ("/expires_at", {**EMAIL, "expires_at": (NOW - timedelta(hours=1)).isoformat()}),
    ("/retry", {**EMAIL, "retry": 5}),
    *(
        (f"/retry/{name}", {**EMAIL, "retry": {name: value}})
        for name, value in (
            *(("max_attempts", 0), ("max_attempts", 21), ("max_attempts", "3"), ("max_attempts", 2.5), ("initial_delay", -1)),
            *(("max_delay", 1e9), ("backoff_factor", 0.5), ("backoff_factor", "2"), ("retry_conditions", "timeout"), ("often", 1)),
        )
    ),
    ("/retry/retry_conditions/0", {**EMAIL, "retry": {"retry_conditions": ["whenever"]}}),
    # where it goes
    *(("/provider", {**EMAIL, "provider": value}) for value in ("nobody", "", 7, "a-sms", "a\0", "' OR 1=1 --")),
    ("/provider", {**EMAIL, "provider_message_id": "x"}),
    *(
        ("/provider_message_id", {**EMAIL, "provider": "a-email", "provider_message_id": value})
        for value in ("", 7, "x" * 301, "a\0", "a\nb")
    ),
    ("/scheduled_at", {**EMAIL, "provider": "a-email", "provider_message_id": "x", "scheduled_at": NOW.isoformat()}),
    (
        "/recipients",
        {"channel": "email", "recipients": ["a@b.de", "c@d.de"], "provider": "a-email", "provider_message_id": "x"},
    ),
    # fields that do not exist
    *((f"/{name}", {**EMAIL, name: 1}) for name in ("colour", "to", "from", "id", "status", "__class__", "project_id")),
    ("/a~1b~0c", {**EMAIL, "a/b~c": 1}),
    ("/\ufffd", {**EMAIL, "\0": 1}),
    ("/" + "x" * 100, {**EMAIL, "x" * 5000: 1}),
]  # fmt: skip


def test_there_are_hundreds_of_them() -> None:
    assert len(FIELDS) > 200


@pytest.mark.parametrize(("pointer", "document"), FIELDS, ids=range(len(FIELDS)))
def test_a_wrong_field_is_named(client: Client, pointer: str, document: dict[str, Any]) -> None:
    answer = client.post("/v1/notifications", json.dumps(document), content_type="application/json")
    problem = check(answer, 422)
    assert pointer in {error["pointer"] for error in problem["errors"]}, problem
    assert not PYDANTICS.search(problem["detail"]), problem


@pytest.mark.parametrize("step", range(4))
def test_a_wrong_item_of_a_batch_is_named(client: Client, step: int) -> None:
    """The same inputs as items of batches: all wrong, so that each batch is refused as a whole."""
    chosen = [each for each in FIELDS[step::4] if len(json.dumps(each[1])) < 10_000]
    for start in range(0, len(chosen), 20):
        part = chosen[start : start + 20]
        body = json.dumps({"notifications": [document for _, document in part]})
        headers = {"Idempotency-Key": f"k-{step}-{start}"}
        answer = client.post("/v1/notifications/batch", body, content_type="application/json", headers=headers)
        pointers = {error["pointer"] for error in check(answer, 422)["errors"]}
        wanted = {f"/notifications/{index}{pointer}" for index, (pointer, _) in enumerate(part)}
        assert wanted <= pointers, wanted - pointers


@pytest.mark.parametrize("path", ["notifications", "notifications/batch", "notifications/bulk-status"])
@pytest.mark.parametrize(
    "body",
    [
        *(b" ", b"{", b"}", b"{'a': 1}", b'{"a": 1,}', b'{"a"}', b"nul", b"NaN", b'{"a": NaN}', b'{"a": Infinity}'),
        *(b'{"a": 1e999}', b'{"a": "\x00"}', b'{"a": "\\ud800"}', b'{"a": "\\x00"}', b"\xff\xfe", b'{"\xff": 1}', b"\xef\xbb\xbf{}"),
        *(b"[" * 100_000, b'{"a":' * 100_000, b"[" * 500 + b"]" * 500, b"[" * 1100 + b"]" * 1100, b"{} {}", b"\x00", b"a=1&b=2"),
        *(b'{"a": ' + b"[" * 300 + b"]" * 300 + b"}", b"<xml/>", b"\x1f\x8b\x08\x00", b'{"a": 0123}', b'{"a": .5}'),
    ],
)  # fmt: skip
def test_what_is_not_json_is_malformed(client: Client, path: str, body: bytes) -> None:
    answer = client.post(f"/v1/{path}", body, content_type="application/json", headers={"Idempotency-Key": "k"})
    assert check(answer, 400)["type"] == "urn:postroom:malformed-json"


@pytest.mark.parametrize("body", [b"[]", b"7", b'"x"', b"null", b"true", b"1e300", b"[[]]", b"9" * 300, b"{}"])
@pytest.mark.parametrize("path", ["notifications", "notifications/batch", "notifications/bulk-status"])
def test_json_of_another_shape(client: Client, path: str, body: bytes) -> None:
    answer = client.post(f"/v1/{path}", body, content_type="application/json", headers={"Idempotency-Key": "k"})
    check(answer, 422)


@pytest.mark.parametrize(
    ("document", "pointer"),
    [
        ({"notifications": []}, "/notifications"),
        ({"notifications": {}}, "/notifications"),
        ({"notifications": "x"}, "/notifications"),
        ({"notifications": None}, "/notifications"),
        ({"notifications": [EMAIL] * 1001}, "/notifications"),
        ({"notifications": [EMAIL], "more": 1}, "/more"),
        ({"messages": [EMAIL]}, "/messages"),
        ({"notifications": [None, 7, "x", []]}, "/notifications/2"),
        ({"notifications": [{**EMAIL, "recipients": ["ada@example.org"]}]}, "/notifications/0/recipient"),
        (
            {"notifications": [{"channel": "email", "content": {"text": "x"}, "recipients": ["ada@example.org"]}]},
            "/notifications/0/recipients",
        ),
    ],
)
def test_a_wrong_envelope_is_refused(client: Client, document: Any, pointer: str) -> None:
    answer = client.post("/v1/notifications/batch", json.dumps(document), content_type="application/json")
    assert pointer in {error["pointer"] for error in check(answer, 422)["errors"]}


def test_a_body_of_eleven_megabytes(client: Client) -> None:
    body = json.dumps({**EMAIL, "content": {"text": "x" * 11 * MEBIBYTE}})
    answer = client.post("/v1/notifications", body, content_type="application/json")
    assert check(answer, 413)["type"] == "urn:postroom:too-large"


@pytest.mark.parametrize(
    "content_type",
    [
        *("", "text/plain", "application/x-www-form-urlencoded", "multipart/form-data; boundary=x", "application/xml"),
        *("application/jsonp", "text/json", "x", ";", "application/json, text/plain", "\u00e9"),
    ],
)
def test_other_media_types(client: Client, content_type: str) -> None:
    answer = client.post("/v1/notifications", json.dumps(EMAIL), content_type=content_type)
    check(answer, 415)


@pytest.mark.parametrize("encoding", ["gzip", "deflate", "br", "zstd", "nonsense", "gzip, gzip"])
def test_compressed_bodies(client: Client, encoding: str) -> None:
    headers = {"Content-Encoding": encoding}
    answer = client.post("/v1/notifications", json.dumps(EMAIL), content_type="application/json", headers=headers)
    check(answer, 415)


@pytest.mark.parametrize("method", ["put", "patch", "delete", "options", "trace"])
@pytest.mark.parametrize("path", ["notifications", "notifications/batch", "notifications/x/retry", "batches/1"])
def test_other_methods(client: Client, method: str, path: str) -> None:
    answer = getattr(client, method)(f"/v1/{path}")
    check(answer, 405)
    assert answer["Allow"]


def test_the_wrong_method_of_a_resource(client: Client) -> None:
    check(client.get("/v1/notifications/batch"), 405)
    check(client.get("/v1/notifications/bulk-status"), 405)
    check(client.post("/v1/batches/1"), 405)


@pytest.mark.parametrize("value", ["", " ", "x" * 256, "a b", "a\tb", "é", "\x7f"])
def test_a_wrong_idempotency_key(client: Client, value: str) -> None:
    headers = {"Idempotency-Key": value}
    answer = client.post("/v1/notifications", json.dumps(EMAIL), content_type="application/json", headers=headers)
    check(answer, 400)


@pytest.mark.parametrize("accept", ["text/html", "x", "", ";;;", "*/*;q=abc", "application/xml", "\u00e9"])
def test_what_is_accepted_is_not_asked(client: Client, accept: str) -> None:
    assert client.get("/v1/notifications", headers={"Accept": accept}).status_code == 200
    check(client.get("/v1/notifications?format=xml", headers={"Accept": accept}), 400)


def test_an_empty_body_is_malformed(client: Client) -> None:
    answer = client.generic("POST", "/v1/notifications", b"", CONTENT_TYPE="application/json", CONTENT_LENGTH="0")
    assert check(answer, 400)["type"] == "urn:postroom:malformed-json"


@pytest.mark.parametrize("length", ["-1", "x", "99999999999999999999", "1e3"])
def test_a_false_length(client: Client, length: str) -> None:
    answer = client.generic("POST", "/v1/notifications", b"{", "application/json", CONTENT_LENGTH=length)
    assert answer.status_code in (400, 413)
    assert answer["Content-Type"] == "application/problem+json"


def test_no_error_repeats_a_recipient() -> None:
    """Answers are stored with their idempotency keys, and logged by clients."""
    for _, document in FIELDS:
        if isinstance(secret := document.get("recipient"), str) and len(secret) > 6:
            try:
                schema.parse(document, region="", now=NOW, kept=timedelta(days=30))
            except schema.Invalid as invalid:
                assert secret not in str(invalid)
