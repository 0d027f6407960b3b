"""SMSBat's words for Postroom's statuses. Pure; used by its interface and its style of webhooks."""

from __future__ import annotations

from tracking.statuses import Status

SCHEDULED, PROCESSING, DELIVERED = "scheduled", "processing", "delivered"
UNDELIVERABLE, PERMANENT_ERROR = "undeliverable", "permanenterror"
FINAL = (DELIVERED, UNDELIVERABLE, PERMANENT_ERROR)

_WORDS = {
    Status.PENDING: SCHEDULED,
    Status.PROCESSING: PROCESSING,
    Status.SENT: PROCESSING,
    Status.UNKNOWN: PROCESSING,
    Status.DELIVERED: DELIVERED,
    Status.READ: DELIVERED,
    Status.BOUNCED: UNDELIVERABLE,
    Status.CANCELLED: PERMANENT_ERROR,
}
_REFUSED = {"permanent", "invalid_recipient", "blocked", "suppressed", "rejected"}

# The types of a message, and what carries them.
TYPES = {
    "sms": "sms",
    "viber_promo": "viber",
    "viber_trans": "viber",
    "viber_carousel": "viber",
    "viber_survey": "viber",
    "viber_otp": "viber",
    "rcs": "rcs",
    "flashcall": "flashcall",
}


def word(status: str, reason: str) -> str:
    """Of a failed message, whether it was refused (undeliverable) or given up (permanenterror)."""
    if status == Status.FAILED:
        return UNDELIVERABLE if reason in _REFUSED else PERMANENT_ERROR
    return _WORDS[Status(status)]
