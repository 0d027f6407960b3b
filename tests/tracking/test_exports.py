"""Exports: what stands in the files, what a failure leaves, and that nothing gets lost or doubled on the way."""

from __future__ import annotations

import csv
import gzip
import io
import json
import os
import signal
import subprocess
import sys
import time
from datetime import UTC, datetime, timedelta
from hashlib import sha256
from pathlib import Path

import pytest
import time_machine
from django.test import Client

from providers.base import BounceClass, FailureClass
from tests import database
from tests.builders import make_account, make_endpoint, make_message, make_project
from tests.tracking.lives import fail, queue_message
from tracking import export_columns, selection, tasks
from tracking.models import Delivery, Export, ExportFormat, Message
from tracking.selection import Filters
from tracking.services import export_files, export_links, export_work, exports
from tracking.statuses import FactKind, Status

pytestmark = pytest.mark.django_db


@pytest.fixture(autouse=True)
def directory(tmp_path, settings) -> Path:
    settings.EXPORT_DIR = tmp_path / "exports"
    return settings.EXPORT_DIR


@pytest.fixture
def project():
    found = make_project(code="shop")
    make_account(found, code="mailer")
    return found


def ask(project, **kw) -> Export:
    return exports.request(**{"project": project, "filters": Filters(), "by": "test", **kw})


def finish(export: Export) -> Export:
    assert export_work.work(seconds=60)
    export.refresh_from_db()
    return export


def lines(export: Export) -> list[dict]:
    raw = export_files.path_of(export).read_bytes()
    text = (gzip.decompress(raw) if export.gzip else raw).decode()
    if export.format == ExportFormat.JSONL:
        return [json.loads(line) for line in text.splitlines()]
    return list(csv.DictReader(io.StringIO(text, newline="")))


def test_every_column_says_what_the_message_says(project):
    key = make_message(
        project, external_id="order-1", category="receipts", tags=["a b", 'c"d'], template_id="t", content={"text": "x"}
    )
    why = {"bounce": BounceClass.HARD, "failure": FailureClass.INVALID_RECIPIENT, "text": "no such, user\nhere"}
    fail(key, kind=FactKind.BOUNCED, **why)
    message = Message.objects.get(pk=key)
    (row,) = lines(finish(ask(project, format=ExportFormat.JSONL, columns=list(export_columns.COLUMNS))))
    assert list(row) == list(export_columns.COLUMNS)
    assert row["id"] == str(key) and row["project"] == "shop" and row["provider"] == "mailer"
    assert row["external_id"] == "order-1" and row["category"] == "receipts" and row["template_id"] == "t"
    assert row["tags"] == ["a b", 'c"d'] and row["batch_id"] is None and row["attempts"] == 1
    assert row["status"] == message.status == "bounced" and row["recipient"] == "ada@example.org"
    assert datetime.fromisoformat(row["created_at"]) == message.created_at
    assert datetime.fromisoformat(row["failed_at"]) == message.failed_at
    assert row["error_code"] == "550" and row["error_text"] == "no such, user\nhere" and row["bounce"] == "hard"
    (cells,) = lines(finish(ask(project, columns=list(export_columns.COLUMNS))))
    times = [name for name in cells if name.endswith("_at")]
    assert {name: cells[name] and datetime.fromisoformat(cells[name]) for name in times} == {
        name: row[name] and datetime.fromisoformat(row[name]) or "" for name in times
    }
    assert cells["created_at"].endswith("+00") and row["created_at"].endswith("+00:00")
    assert json.loads(cells["tags"]) == row["tags"]
    others = cells.keys() - {"tags", *times}
    assert {name: cells[name] for name in others} == {
        name: "" if row[name] is None else str(row[name]) for name in others
    }


@pytest.mark.parametrize("hostile", ["=1+1", "+15550100", "-2", "@SUM(A1)", "\t=1", "\r=1", "\n=1", "＝1", '="a",b'])
def test_no_cell_is_a_formula(project, hostile):
    account = make_account(project)
    key = queue_message(project, account, recipient=hostile)
    Message.objects.filter(pk=key).update(external_id=hostile, category=hostile, template_id=hostile, reference=hostile)
    columns = ["external_id", "recipient", "category", "template_id", "provider_message_id"]
    (cells,) = lines(finish(ask(project, columns=columns)))
    assert cells == dict.fromkeys(columns, f"'{hostile}")
    (row,) = lines(finish(ask(project, columns=columns, format=ExportFormat.JSONL)))
    assert row == dict.fromkeys(columns, hostile)  # nothing takes this for a formula: it stands as it is


@pytest.mark.parametrize("format", list(ExportFormat))
@pytest.mark.parametrize("gzipped", [False, True])
def test_every_message_once_in_the_order_of_ids_over_many_chunks(project, monkeypatch, format, gzipped):
    monkeypatch.setattr(selection, "LOOKED_THROUGH", 3)
    keys = [make_message(project, category="a" if n % 2 else "b") for n in range(10)]
    make_message(_with_account())
    export = finish(ask(project, format=format, gzip=gzipped))
    assert [row["id"] for row in lines(export)] == list(map(str, keys))
    raw = export_files.path_of(export).read_bytes()
    assert (export.rows, export.bytes, export.sha256) == (10, len(raw), sha256(raw).hexdigest())
    some = finish(ask(project, format=format, gzip=gzipped, filters=Filters(category="a", status=[Status.PENDING])))
    assert [row["id"] for row in lines(some)] == list(map(str, keys[1::2]))


def _with_account():
    other = make_project()
    make_account(other)
    return other


def test_nothing_matches(project):
    make_message(project)
    for format in ExportFormat:
        export = finish(ask(project, format=format, filters=Filters(status=[Status.FAILED])))
        assert export.state == "completed" and export.rows == 0 and lines(export) == []


def test_what_comes_after_the_request_is_not_in_it(project):
    export = ask(project)
    time.sleep(0.003)  # ids tell milliseconds
    make_message(project)
    assert finish(export).rows == 0


def test_a_chunk_that_was_not_committed_is_cut_off(project, monkeypatch):
    monkeypatch.setattr(selection, "LOOKED_THROUGH", 2)
    keys = [make_message(project) for _ in range(5)]
    export = ask(project)
    export_work.work(seconds=0)
    export.refresh_from_db()
    assert export.state == "processing" and export.rows == 2 and not export_files.path_of(export).exists()
    with (export_files.part_of(export)).open("ab") as part:
        part.write(b"half a row of the next ch")
    assert [row["id"] for row in lines(finish(export))] == list(map(str, keys))


def test_a_crash_between_the_name_and_the_record_is_made_good(project, monkeypatch):
    make_message(project)
    export = ask(project)
    export_work.work(seconds=0)
    export.refresh_from_db()
    assert export.whole
    export_files.publish(export)  # and then it died
    assert finish(export).state == "completed" and len(lines(export)) == 1


def test_a_disk_that_fails_is_tried_again_and_then_given_up(project, directory):
    make_message(project)
    directory.parent.mkdir(exist_ok=True)
    directory.write_text("a file stands where the directory should be")
    export = ask(project)
    for _ in range(export_work.MAX_FAULTS):
        finish(export)
        Export.objects.filter(pk=export.pk).update(due_at=None)
    export.refresh_from_db()
    assert export.state == "failed" and "could not be written" in export.fault
    assert not Delivery.objects.exists() and exports.shape(export)["download_url"] is None
    directory.unlink()
    assert exports.retry(export.pk) and finish(export).rows == 1
    assert not exports.retry(export.pk)


def test_a_failure_waits_before_it_is_tried_again(project, directory):
    directory.parent.mkdir(exist_ok=True)
    directory.write_text("in the way")
    export = finish(ask(project))
    assert export.state == "pending" and export.faults == 1 and export.due_at > datetime.now(UTC)
    assert not export_work.anything_to_do()


def test_a_file_that_was_changed_is_not_published(project, monkeypatch):
    monkeypatch.setattr(selection, "LOOKED_THROUGH", 1)
    make_message(project)
    make_message(project)
    export = ask(project)
    export_work.work(seconds=0)
    export_files.part_of(Export.objects.get()).write_bytes(b"")
    for _ in range(export_work.MAX_FAULTS):
        finish(export)
        Export.objects.filter(pk=export.pk).update(due_at=None)
    export.refresh_from_db()
    assert export.state == "failed" and "changed or removed" in export.fault


def test_a_file_that_gets_too_large_is_given_up(project, settings):
    make_message(project)
    settings.EXPORT_MAX_GB = 0
    export = finish(ask(project))
    assert export.state == "failed" and "larger than 0 GB" in export.fault


def test_the_files_are_nobody_elses(project, directory):
    export = finish(ask(project))
    assert directory.stat().st_mode & 0o777 == 0o700 and export_files.path_of(export).stat().st_mode & 0o777 == 0o600


def test_one_for_the_operators_directory_stays(project, tmp_path):
    make_message(project)
    export = finish(ask(project, directory=tmp_path / "kept", expires=False))
    assert export.expires_at is None and exports.shape(export)["download_url"] is None
    assert export_files.path_of(export).parent == tmp_path / "kept"
    path = export_files.path_of(export)
    exports.delete(export.pk)
    assert path.exists() and not Export.objects.exists()


def test_a_project_has_few_unfinished_ones(project):
    for _ in range(exports.MAX_UNFINISHED):
        ask(project)
    with pytest.raises(exports.Refused):
        ask(project)
    ask(make_project())


def test_a_project_keeps_files_of_so_much_and_no_more(project, settings):
    settings.EXPORT_KEPT_GB = 3
    kept, failed, expired, of_the_operator = (ask(project) for _ in range(4))
    Export.objects.filter(pk__in=[kept.pk, failed.pk]).update(bytes=3 * 2**29)
    Export.objects.filter(pk=kept.pk).update(state="completed")
    Export.objects.filter(pk=failed.pk).update(state="failed")  # what was written of it is kept too
    Export.objects.filter(pk=expired.pk).update(bytes=2**40, state="expired")
    Export.objects.filter(pk=of_the_operator.pk).update(bytes=2**40, state="completed", directory="/kept")
    with pytest.raises(exports.Refused, match="3 GB or more: delete an export that is not needed any more"):
        ask(project)
    ask(make_project())
    Export.objects.filter(pk=failed.pk).update(bytes=3 * 2**29 - 1)
    ask(project)
    Export.objects.filter(pk=failed.pk).update(bytes=3 * 2**29)
    exports.expire(kept.pk)
    ask(project)


def test_old_files_are_removed(project, directory):
    export = finish(ask(project))
    with time_machine.travel(datetime.now(UTC) + timedelta(days=6), tick=True):
        tasks.export_tick()
        assert export_files.path_of(export).exists()
    with time_machine.travel(datetime.now(UTC) + timedelta(days=8), tick=True):
        tasks.export_tick()
    export.refresh_from_db()
    assert export.state == "expired" and list(directory.iterdir()) == []


def test_deleting_removes_the_file_also_while_it_is_written(project, directory, monkeypatch):
    monkeypatch.setattr(selection, "LOOKED_THROUGH", 1)
    make_message(project)
    make_message(project)
    export = ask(project)
    export_work.work(seconds=0)
    assert len(list(directory.iterdir())) == 1
    exports.delete(export.pk)
    assert list(directory.iterdir()) == [] and export_work.work(seconds=1)


# --- who is told


def test_endpoints_are_told_when_it_is_complete(project):
    everything = make_endpoint(project)
    named = make_endpoint(project, "https://hooks.example.com/exports", events=["notification.failed"])
    make_endpoint(_with_account())
    make_message(project)
    export = ask(project, endpoint=named)
    assert not Delivery.objects.filter(event="export.complete").exists()
    finish(export)
    told = Delivery.objects.filter(event="export.complete")
    assert sorted(told.values_list("endpoint_id", flat=True)) == sorted([everything.pk, named.pk])
    payload = told[0].payload
    assert payload["type"] == "export.complete" and payload["data"]["id"] == str(export.pk)
    assert payload["data"]["status"] == "completed" and payload["data"]["progress"]["rows"] == 1
    assert payload["data"]["sha256"] == export.sha256
    assert "secret" not in json.dumps(payload)
    response = Client().get(payload["data"]["download_url"].removeprefix("http://127.0.0.1:8000"))
    assert b"".join(response.streaming_content) == export_files.path_of(export).read_bytes()


# --- the address of the file


def url_of(export: Export, now: datetime | None = None) -> str:
    return "/downloads" + export_links.address(export, now or datetime.now(UTC)).url.partition("/downloads")[2]


def test_the_address_needs_no_key_and_is_counted(project):
    make_message(project)
    export = finish(ask(project, gzip=True))
    answer = Client().get(url_of(export))
    assert answer.status_code == 200 and answer["Content-Type"] == "application/gzip"
    assert answer["Content-Disposition"] == f'attachment; filename="delivery-data-shop-{export.pk}.csv.gz"'
    assert answer["Content-Length"] == str(export.bytes) and "no-store" in answer["Cache-Control"]
    assert "Content-Encoding" not in answer
    assert sha256(b"".join(answer.streaming_content)).hexdigest() == export.sha256
    assert Client().head(url_of(export)).status_code == 200
    export.refresh_from_db()
    assert export.downloads == 1
    assert Client().post(url_of(export)).status_code == 405


def test_an_address_ends(project):
    export = finish(ask(project))
    url = url_of(export)
    with time_machine.travel(datetime.now(UTC) + timedelta(hours=23), tick=True):
        assert Client().get(url).status_code == 200
    with time_machine.travel(datetime.now(UTC) + timedelta(hours=25), tick=True):
        assert Client().get(url).status_code == 410
    export.refresh_from_db()
    assert export.downloads == 1
    assert export_links.address(export, export.expires_at - timedelta(hours=1)).until <= export.expires_at


def test_no_address_can_be_forged(project):
    mine, other = finish(ask(project)), finish(ask(make_project()))
    token = url_of(mine).rpartition("/")[2]
    forged = token.replace(mine.pk.hex, other.pk.hex)
    longer = token.replace(token.split(".")[1].split(":")[0], "9999999999")
    huge = f"{mine.pk.hex}.{'9' * 30}"
    for each in (forged, longer, huge, token[:-1], token + "A", mine.pk.hex, "x", "%00", "a" * 5_000):
        assert Client().get(f"/downloads/exports/{each}").status_code == 404, each


def test_what_is_gone_is_not_there(project):
    export, unfinished = finish(ask(project)), None
    url = url_of(export)
    exports.expire(export.pk)
    assert Client().get(url).status_code == 404
    unfinished = ask(project)
    assert Client().get(url_of(unfinished)).status_code == 404
    exports.delete(export.pk)
    assert Client().get(url).status_code == 404


# --- a worker that is killed


_WORKER = """
import sys, time, django
django.setup()
from tracking import selection
from tracking.services import export_files, export_work
selection.LOOKED_THROUGH = 5
write = export_files._write
def slowly(file, blocks):
    for number, block in enumerate(blocks):
        file.write(block); file.flush(); time.sleep(0.01)
export_files._write = slowly
print("at work", flush=True)
export_work.work(seconds=600)
"""


@pytest.mark.django_db(transaction=True)
@pytest.mark.parametrize("gzipped", [False, True])
def test_a_worker_killed_in_the_middle_loses_and_doubles_nothing(directory, monkeypatch, gzipped):
    project = _with_account()
    keys = [make_message(project) for _ in range(60)]
    export = ask(project, gzip=gzipped)
    environ = os.environ | {
        "DJANGO_SETTINGS_MODULE": "config.settings",
        "DATABASE_URL": database.url(),
        "EXPORT_DIR": str(directory),
    }
    seen = []
    for least in (10, 25, 45):
        with subprocess.Popen([sys.executable, "-c", _WORKER], env=environ, stdout=subprocess.PIPE) as worker:
            assert worker.stdout.readline() == b"at work\n"
            until = time.monotonic() + 60
            while Export.objects.get(pk=export.pk).rows < least:
                assert time.monotonic() < until and worker.poll() is None
                time.sleep(0.02)
            worker.send_signal(signal.SIGKILL)
        seen.append(Export.objects.get(pk=export.pk).rows)
        assert not export_files.path_of(export).exists()
    assert seen == sorted(seen) and seen[-1] < len(keys)
    deadline = time.monotonic() + 30
    while not export_work.work(seconds=60):  # PostgreSQL may notice a moment later that the worker is gone
        assert time.monotonic() < deadline
        time.sleep(0.05)
    export.refresh_from_db()
    assert export.state == "completed"
    assert [row["id"] for row in lines(export)] == list(map(str, keys))
    raw = export_files.path_of(export).read_bytes()
    assert (export.rows, export.sha256) == (len(keys), sha256(raw).hexdigest())
