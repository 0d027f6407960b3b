"""Statuses, reasons and times in the operators' words. Pure; used by every page."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime

from tracking.statuses import Status

# Beside its colour each status has a sign, so that it can be told without colours.
SIGNS: dict[str, str] = {
    Status.PENDING: "○",
    Status.PROCESSING: "◔",
    Status.SENT: "↗",
    Status.DELIVERED: "✓",
    Status.READ: "✓✓",
    Status.FAILED: "✕",
    Status.BOUNCED: "↩",
    Status.CANCELLED: "⊘",
    Status.UNKNOWN: "?",
}

REASONS = {
    # of failed messages
    "expired": "its time to be sent had passed",
    "suppressed": "the recipient is on the suppression list",
    "rejected": "it could not be sent at all",
    "attempts_exhausted": "all of its attempts were used up",
    "temporary_failure": "the provider had a passing trouble",
    "rate_limit": "the provider took no more messages for the moment",
    "timeout": "the provider could not be reached in time",
    "permanent": "the provider refused it for good",
    "invalid_recipient": "the recipient's address is not valid",
    "blocked": "the provider or the recipient blocks it",
    "ambiguous": "no answer came after the message was handed over",
    # of bounced ones
    "hard": "the address does not take mail",
    "soft": "the receiving side had a trouble that did not pass",
    "block": "the receiving side's policy refused it",
    "admin": "the receiving side's administration refused it",
    "undetermined": "it came back without a reason that is understood",
}

FAILURES = {
    "temporary_failure": "temporary failure",
    "rate_limit": "rate limit",
    "timeout": "timeout, nothing was written",
    "permanent": "permanent failure",
    "invalid_recipient": "invalid recipient",
    "blocked": "blocked",
    "ambiguous": "ambiguous: the outcome is not known",
}

_UNITS = ((86_400, "d"), (3_600, "h"), (60, "min"), (1, "s"))


def reason(code: str) -> str:
    return REASONS.get(code, code.replace("_", " "))


def spaced(code: str) -> str:
    return code.replace("_", " ")


def failure(code: str | None) -> str:
    return FAILURES.get(code or "", (code or "").replace("_", " "))


def span(seconds: float) -> str:
    """A length of time in its largest unit: "3 min"; below a second "now" would be a lie of rounding, so "0 s"."""
    for size, unit in _UNITS:
        if seconds >= size:
            return f"{int(seconds // size)} {unit}"
    return "0 s"


def ago(moment: datetime, now: datetime | None = None) -> str:
    seconds = ((now or datetime.now(UTC)) - moment).total_seconds()
    if abs(seconds) < 1:
        return "now"
    if seconds < 0:
        return f"in {span(-seconds)}"
    return f"{span(seconds)} ago" if seconds < 30 * 86_400 else moment.astimezone(UTC).strftime("%-d %b %Y")


def exact(moment: datetime) -> str:
    return moment.astimezone(UTC).strftime("%Y-%m-%d %H:%M:%S.") + f"{moment.microsecond // 1000:03d} UTC"


@dataclass(frozen=True, slots=True)
class Try:
    """One attempt, as far as the summary asks for it."""

    number: int
    provider: str
    failure: str
    code: str


def summary(status: str, why: str, tries: Sequence[Try]) -> str:
    """One sentence: what became of the message, through whom, and what came before."""
    last = tries[-1] if tries else None
    through = f" on attempt {last.number} through {last.provider}" if last else ""
    sentence = {
        Status.PENDING: "Waits for another attempt" if tries else "Waits to be sent",
        Status.PROCESSING: f"Is being handed over{through}",
        Status.SENT: f"Taken by the provider{through}; not reported as delivered yet",
        Status.DELIVERED: f"Delivered{through}",
        Status.READ: f"Delivered and read{through}",
        Status.FAILED: f"Failed{through}: {reason(why)}",
        Status.BOUNCED: f"Bounced{through}: {reason(why)}",
        Status.CANCELLED: "Cancelled before it was sent",
        Status.UNKNOWN: f"Its outcome is not known{through}: nobody may guess whether it arrived; decide by hand",
    }[Status(status)]
    return sentence + _earlier(tries[:-1] if status != Status.PENDING else tries) + "."


def _earlier(tries: Sequence[Try]) -> str:
    failed = [each for each in tries if each.failure or each.code]
    if not failed:
        return ""
    before = failed[-1]
    return f", after {before.provider} answered {before.code or failure(before.failure)}"
