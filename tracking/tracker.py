"""DeliveryTracker, the Python API in the manner of k-msg: for any Django code that sends messages elsewhere, or wants
to hear what becomes of a project's messages. docs/tracker.md describes it.

It keeps nothing itself: every call works on the database, so that any number of processes may each have one.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

from providers.models import ProviderAccount
from tracking import ids, kmsg, metrics, news, tracker_schema
from tracking.emitter import Emitter
from tracking.figures import together
from tracking.kmsg import (
    DeliveryReport,
    DeliveryStats,
    DeliveryWebhook,
    MessageEvent,
    MessageEventType,
    MessageStatus,
    TrackingRecord,
)
from tracking.models import Project
from tracking.schema import FieldError, Invalid
from tracking.services import message_webhooks, publish, route, tracked, tracking_records
from tracking.services.route import NoRoute, Route
from tracking.services.tracked import AlreadyTracked
from tracking.tracker_ear import Ear

__all__ = [
    "AlreadyTracked",
    "DeliveryReport",
    "DeliveryStats",
    "DeliveryTracker",
    "DeliveryWebhook",
    "Invalid",
    "MessageEvent",
    "MessageEventType",
    "MessageStatus",
    "TrackingRecord",
]
MAX_FOUND = 1_000


class Found(list[TrackingRecord]):
    """Records, newest first. `more`: give it to the next call as `before`; None where there are no more."""

    more: str | None = None


class DeliveryTracker(Emitter):
    """Tracks the messages of one channel of a project.

    `project`, `account`: codes; the account is that of messages whose `provider` is left out. Options have k-msg's
    names and defaults: tracking_interval, max_tracking_duration, webhook_timeout (ms), batch_size, enable_webhooks,
    webhook_retries, persistence.

    Whatever is wrong with an argument raises Invalid, which names it.
    """

    def __init__(self, project: str | Project, channel: str, account: str | None = None, **options: Any) -> None:
        super().__init__()
        self.project = _project(project)
        self.channel = channel
        self.options = tracker_schema.options(options)
        self._account = account
        self._route(None)  # a wrong channel or account shows at once
        self._ear: Ear | None = None
        news.told.connect(self._told)  # weakly: a tracker that nobody holds hears nothing

    # --- start and stop

    def start(self) -> None:
        """From its return on, listeners also hear what other processes apply, and expired tracking is cleaned up every
        hour. Takes a second: so long may another process believe that nobody listens."""
        if self._ear is None:
            ear = Ear(self.project.pk, self._hear, self.cleanup, every=self.options.tracking_interval / 1000)
            ear.open()
            self._ear = ear
            self.emit("tracker:started")

    def stop(self) -> None:
        """Nothing is lost by it: what webhooks are still to be told stands in the database."""
        if self._ear is not None:
            self._ear.close()
            self._ear = None
        self.emit("tracker:stopped")

    # --- messages

    def track_message(
        self,
        message_id: str,
        phone_number: str,
        template_id: str = "",
        provider: str | None = None,
        *,
        initial_status: str = MessageStatus.QUEUED,
        metadata: Mapping[str, Any] | None = None,
        webhooks: Sequence[DeliveryWebhook | Mapping[str, Any]] = (),
        provider_message_id: str = "",
    ) -> None:
        """Track a message that is sent elsewhere. What it returns from is committed, where no transaction is open.

        `provider`: the code of an account granted to the project. `provider_message_id`: with it, the account's
        receipts find the message. Raises AlreadyTracked where there is a message of this id; Invalid.
        """
        given = {
            **{"message_id": message_id, "phone_number": phone_number, "template_id": template_id or ""},
            **{"provider": provider, "initial_status": initial_status, "metadata": _plain(metadata) or {}},
            **{"provider_message_id": provider_message_id},
        }
        region = self.project.default_region
        wanted = tracker_schema.wanted(given, webhooks, self.options, channel=self.channel, region=region)
        tracker_schema.check_urls(wanted, publish.policy())
        if not self.options.enable_webhooks:
            wanted.webhooks = []
        place = tracked.Place(self.project.pk, self.channel, self._route(wanted.provider).account_id)
        keep = timedelta(days=self.options.persistence.retention_days)
        tracked.start(place, wanted, expires_at=datetime.now(UTC) + self._duration, keep=keep)

    def update_status(
        self,
        message_id: str,
        status: str,
        *,
        sent_at: datetime | None = None,
        delivered_at: datetime | None = None,
        clicked_at: datetime | None = None,
        failed_at: datetime | None = None,
        error: Mapping[str, Any] | None = None,
        metadata: Mapping[str, Any] | None = None,
        provider: str | None = None,
        source: str | None = None,
        provider_message_id: str | None = None,
    ) -> bool:
        """Report a status. False where the message is not tracked, has it already, or would go back: of what has ended
        only a click follows a delivery. Raises Invalid."""
        given = {
            **{"sent_at": sent_at, "delivered_at": delivered_at, "clicked_at": clicked_at, "failed_at": failed_at},
            **{"error": _plain(error), "provider": provider, "source": source},
            **{"metadata": _plain(metadata), "provider_message_id": provider_message_id},
        }
        details, name = tracker_schema.details(given), tracker_schema.name(message_id)
        return tracked.update(self.project.pk, name, tracker_schema.status(status), details)

    def stop_tracking(self, message_id: str) -> bool:
        """Neither listeners nor its webhooks hear of the message any more, and no call finds it. The message itself,
        its receipts and the statistics are not touched. False where it is not tracked."""
        name, expires_at = tracker_schema.name(message_id), datetime.now(UTC) + self._duration
        return tracked.stop(self.project.pk, name, expires_at=expires_at) is not None

    def cleanup(self) -> int:
        """End the tracking whose time is over, and say how much that was. No record and no rate is lost by it: messages
        go when the project's retention says so."""
        count = tracked.clean_up(self.project.pk, self.options.batch_size)
        if count:
            self.emit("cleanup:completed", {"removed_count": count})
        return count

    def get_tracking_record(self, message_id: str) -> TrackingRecord | None:
        key = tracked.find(self.project.pk, tracker_schema.name(message_id))
        return tracking_records.read([key]).get(key) if key else None

    def get_delivery_report(self, message_id: str) -> DeliveryReport | None:
        record = self.get_tracking_record(message_id)
        return record.delivery_report if record else None

    def get_messages_by_status(self, status: str, *, limit: int = MAX_FOUND, before: str | None = None) -> Found:
        """Of the messages made within `max_tracking_duration`, newest first, `limit` at most. It looks through a
        bounded number of messages: `more` of the answer says whether and where to go on."""
        if not 1 <= limit <= MAX_FOUND:
            raise Invalid([FieldError("/limit", f"must be from 1 to {MAX_FOUND:,}")])
        word, since = tracker_schema.status(status), datetime.now(UTC) - self._duration
        keys, more = tracked.with_status(
            self.project.pk, self.channel, word, since=since, before=_cursor(before), limit=limit
        )
        records = tracking_records.read(keys)
        found = Found(records[key] for key in keys if key in records)
        found.more = str(more) if more else None
        return found

    # --- statistics

    def get_stats(self) -> DeliveryStats:
        """Of all messages of the channel, from the rollups: exact, and as quick with ten million as with ten."""
        return self._stats(self.project.created_at - timedelta(days=1), datetime.now(UTC) + timedelta(hours=1))

    def get_stats_for_period(self, start_date: datetime, end_date: datetime) -> DeliveryStats:
        """Of the messages made in that time, to the minute (before the last two days: to the quarter of an hour)."""
        period = tracker_schema.period(start_date, end_date)
        return self._stats(period.start_date, period.end_date)

    def _stats(self, since: datetime, until: datetime) -> DeliveryStats:
        scope = metrics.Scope(since, until, project_ids=[self.project.pk], channel=self.channel)
        codes = dict(ProviderAccount.objects.values_list("pk", "code"))
        by_account = metrics.by(scope, "account")
        by_provider = {codes.get(key, "") if isinstance(key, int) else "": each for key, each in by_account.items()}
        created = {code: figures.created for code, figures in by_provider.items() if figures.created}
        return kmsg.stats(together(by_account.values()), created, datetime.now(UTC))

    # --- events

    def _told(self, *, heard: Sequence[news.News], **_: Any) -> None:
        """By this process, after its commit."""
        self._hear([each for each in heard if each.project_id == self.project.pk])

    def _hear(self, heard: Sequence[news.News]) -> None:
        mine = [each for each in heard if each.channel in ("", self.channel) and self._wanted(each.kind)]
        for start in range(0, len(mine), self.options.batch_size):
            part = mine[start : start + self.options.batch_size]
            moved = tracking_records.read({each.key for each in part if each.kind == news.MOVED})
            stopped = tracking_records.read({each.key for each in part if each.kind == news.STOPPED}, stopped=True)
            for each in part:
                if each.kind == news.MOVED and each.key in moved:
                    self._emit_move(each, moved[each.key])
                elif each.kind == news.STOPPED and each.key in stopped:
                    record = stopped[each.key]
                    self.emit("tracking:stopped", _event(MessageEventType.CANCELLED, record, record))
                elif each.kind in (news.TOLD, news.UNTOLD):
                    self._emit_result(each)

    def _wanted(self, kind: str) -> bool:
        """Whether any listener is there: what nobody wants to hear is not read."""
        return any(map(self.hears, _EVENTS[kind]))

    def _emit_move(self, move: news.News, record: TrackingRecord) -> None:
        before = kmsg.WORDS[move.before] if move.before else None
        after = kmsg.WORDS[move.after]
        if before is None:
            self.emit("tracking:started", _event(kmsg.event_type(after), record, record))
        elif before is not after:
            data = {
                "message_id": record.message_id,
                "previous_status": before,
                "current_status": after,
                "delivery_report": record.delivery_report,
            }
            self.emit("status:updated", _event(kmsg.event_type(after), data, record))
            if after in kmsg.TERMINAL:
                completed = _event(kmsg.event_type(after), {**data, "tracking_completed": True}, record)
                self.emit("tracking:completed", completed)

    def _emit_result(self, told: news.News) -> None:
        result = message_webhooks.result(told.key, channel=self.channel)
        if result is not None:
            self.emit("webhook:delivered" if told.kind == news.TOLD else "webhook:failed", result)

    # --- who and where

    @property
    def _duration(self) -> timedelta:
        return timedelta(milliseconds=self.options.max_tracking_duration)

    def _route(self, provider: str | None) -> Route:
        try:
            return route.choose(self.project.pk, self.channel, provider or self._account, sending=False)
        except NoRoute as none:
            field = "provider" if provider else "account" if self._account else "channel"
            raise Invalid([FieldError(f"/{field}", none.detail)]) from None


_EVENTS = {
    news.MOVED: ("tracking:started", "status:updated", "tracking:completed"),
    news.STOPPED: ("tracking:stopped",),
    news.TOLD: ("webhook:delivered",),
    news.UNTOLD: ("webhook:failed",),
}


def _event(kind: str, data: Any, record: TrackingRecord) -> MessageEvent:
    return MessageEvent(str(ids.new()), kind, record.updated_at, data, record.metadata)


def _plain(given: Any) -> Any:
    """Any mapping as a dict; what is none is left to be named."""
    return dict(given) if isinstance(given, Mapping) else given


def _project(project: str | Project) -> Project:
    found = project if isinstance(project, Project) else Project.objects.filter(code=project).first()
    if found is None:
        raise Invalid([FieldError("/project", "there is no project of this code")])
    return found


def _cursor(before: str | None) -> UUID | None:
    try:
        return None if before is None else UUID(before)
    except ValueError:
        raise Invalid([FieldError("/before", "is not where an answer before ended")]) from None
