"""A purge takes everything that hangs on its messages: afterwards no table knows their ids but those that are named
here, and in docs/retention.md.
"""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
import time_machine

from dashboard.models import BulkItem, BulkOperation
from tests.builders import make_device
from tests.tracking.everywhere import Furnished, naming
from tracking import partitions
from tracking.models import Device, Leg, Message, QueueRow, StreamEvent, Tracked
from tracking.services import act, check, purge, purge_rows, rollup
from tracking.services.act import Source

pytestmark = pytest.mark.django_db(transaction=True)

# What keeps an id, and until when.
KNOWING = {
    *("tracking_suppression", "tracking_consent_change", "tracking_device"),  # which message led to it; until erased
    *("dashboard_bulkitem", "tracking_export"),  # what operators did, and how far it came
    *("tracking_idempotencykey", "tracking_pushlog", "tracking_pushlogpart"),  # a day
}


@pytest.fixture(autouse=True)
def weeks_begin_anew() -> Iterator[None]:
    yield
    fresh = partitions.week_start(datetime.now(UTC)) - partitions.WEEK
    partitions.drop(*(each for each in partitions.existing() if each.starts < fresh))
    partitions.ensure_ahead()


@pytest.fixture
def furnished(tmp_path: Path, settings: Any) -> Furnished:
    settings.EXPORT_DIR = tmp_path / "exports"
    found = Furnished(tmp_path / "archive")
    refused = Message.objects.filter(status="failed").latest("pk")
    make_device(found.project, message_id=refused.pk, valid=False)
    operation = BulkOperation.objects.get()
    BulkItem.objects.create(operation=operation, message_id=refused.pk, status="failed", decisions=1)
    return found


def purged() -> set[str]:
    """A purge half a year later; the ids that are gone."""
    before = set(Message.objects.values_list("pk", flat=True))
    with time_machine.travel(datetime.now(UTC) + timedelta(days=180)):
        found = purge.start(by="test")
        assert found is not None
        assert purge.work(found.pk, seconds=60)
    found.refresh_from_db()
    assert found.finished_at and not found.error
    gone = before - set(Message.objects.values_list("pk", flat=True))
    return {str(key) for key in gone}


@pytest.mark.parametrize("whole", [True, False])
def test_no_table_knows_the_id_of_a_purged_message(furnished: Furnished, whole: bool) -> None:
    waiting = list(QueueRow.objects.values_list("pk", flat=True))
    assert waiting and StreamEvent.objects.exists() and Tracked.objects.exists() and Leg.objects.exists()
    for key in waiting if whole else ():
        act.cancel(key, source=Source("api"))
    known = naming(*(str(key) for key in Message.objects.values_list("pk", flat=True)))
    assert set(purge_rows.BESIDE) < known
    gone = purged()
    left = set(Message.objects.values_list("pk", flat=True))
    assert gone and left == (set() if whole else set(waiting))
    assert naming(*gone) - KNOWING == set()
    assert Device.objects.filter(project=furnished.project).count() == 4
    rollup.fold_all()
    assert [str(each) for each in check.differences()] == []


def test_what_came_in_while_a_week_was_dropped_is_found_and_goes(furnished: Furnished) -> None:
    for key in QueueRow.objects.values_list("pk", flat=True):
        act.cancel(key, source=Source("api"))
    key = Message.objects.latest("pk").pk
    purged()
    Tracked.objects.create(message_id=key, attempt=1)
    assert [str(each) for each in check.differences()] == [f"engagement_tracked {key}: there is no such message"]
    partitions.ensure_ahead()
    purged()
    assert not Tracked.objects.exists() and [*check.differences()] == []
