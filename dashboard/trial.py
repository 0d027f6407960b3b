"""One message by hand through an account, past queue and records, to see whether it works. Called by the admin."""

from __future__ import annotations

from uuid import uuid4

from django.contrib import messages as notices

from dashboard import words
from providers.base import Channel, Outbound, ProviderError
from providers.models import ProviderAccount
from tracking import ids

SHOWN_TEXT = 500  # characters of a vendor's answer in a notice


def outcome(account: ProviderAccount, recipient: str, sender: str) -> tuple[int, str]:
    """Hand one message over and say in words what came of it. An adapter bounds its own time (`Provider.timeout`)."""
    outbound = Outbound(
        echo=ids.echo(ids.new(), 1),
        idempotency_key=f"test-{uuid4()}",
        channel=Channel(account.channel),
        recipient=recipient,
        sender=sender,
        subject="Test message from Postroom",
        text="This is a test message: an operator of Postroom has tried this account.",
    )
    try:
        result = account.adapter().send(outbound)
    except ProviderError as error:
        fault = " The account or its set-up is at fault." if error.classification.account_fault else ""
        code = f" {error.code}" if error.code else ""
        text = f"{words.failure(error.failure)}:{code} {error.text[:SHOWN_TEXT]}"
        return notices.ERROR, f"The provider did not take the message. {text}.{fault}"
    except Exception as error:  # whatever an adapter's library raises is an answer too
        return notices.ERROR, f"The call broke: {type(error).__name__}: {str(error)[:SHOWN_TEXT]}"
    answer = f"{result.code} {result.text}".strip()[:SHOWN_TEXT]
    reference = f" Its id there is {result.reference}." if result.reference else ""
    return notices.SUCCESS, f"The provider took the message: {answer or 'no further words'}.{reference}"
