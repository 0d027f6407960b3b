"""Sends one notification through one channel: e-mail, signed webhook, Slack-compatible webhook. Called by notify
alone."""

from __future__ import annotations

import base64
import secrets as randomness
import smtplib
from datetime import UTC, datetime

import orjson
from django.conf import settings
from django.core.mail import EmailMessage

from dashboard.models import AlertChannel, AlertNotification, ChannelKind
from providers import http, signing
from providers.addresses import AddressPolicy
from providers.base import FailureClass
from providers.vault import SealBroken

TIMEOUT = 10.0  # seconds for a webhook, its connection included
GONE = 410


class Refused(Exception):
    """It was not taken. `final`: it would not be the next time either; `gone`: nothing for this channel would."""

    def __init__(self, text: str, *, final: bool = False, gone: bool = False, retry_after: float | None = None) -> None:
        super().__init__(text)
        self.final = final or gone
        self.gone = gone
        self.retry_after = retry_after


def new_secret() -> str:
    """Of a signed webhook, as Standard Webhooks writes it."""
    return "whsec_" + base64.b64encode(randomness.token_bytes(32)).decode()


def send(channel: AlertChannel, notification: AlertNotification) -> None:
    """Raises Refused."""
    if channel.kind == ChannelKind.EMAIL:
        _email(channel, notification)
        return
    try:
        secrets = channel.secrets
    except SealBroken as error:
        raise Refused(str(error), final=True) from None
    if channel.kind == ChannelKind.SLACK:
        _post(channel, secrets["url"], _slack(notification), {})
        return
    body = orjson.dumps(notification.payload)
    signed = signing.headers([secrets["secret"]], identifier=f"msg_{notification.pk}", at=datetime.now(UTC), body=body)
    _post(channel, secrets["url"], body, signed)


def _post(channel: AlertChannel, url: str, body: bytes, headers: dict[str, str]) -> None:
    policy = None if channel.allow_private else AddressPolicy()
    headers = {**headers, "content-type": "application/json"}
    try:
        answer = http.request("POST", url, timeout=TIMEOUT, headers=headers, body=body, policy=policy)
    except http.HttpError as error:
        raise Refused(error.text, final=error.failure is FailureClass.PERMANENT) from None
    if answer.ok:
        return
    if 300 <= answer.status < 400:
        raise Refused(f"HTTP {answer.status}: redirects are not followed, give the final address")
    gone = answer.status == GONE
    said = "the receiver wants no more, the channel is switched off" if gone else _words(answer.body)
    wait = http.retry_after(answer.headers.get("Retry-After"))
    raise Refused(f"HTTP {answer.status}{f': {said}' if said else ''}", gone=gone, retry_after=wait)


def _words(body: bytes) -> str:
    """The beginning of what it answered; it may be anything."""
    text = body[:200].decode(errors="replace").replace("\0", "")
    return " ".join(text.split())


def _slack(notification: AlertNotification) -> bytes:
    data = notification.payload["data"]
    lines = [data["summary"], *([data["text"]] if data["text"] else [])]
    text = "\n".join(lines).replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
    return orjson.dumps({"text": f"{text}\n<{data['url']}>" if data.get("url") else text})


def _email(channel: AlertChannel, notification: AlertNotification) -> None:
    if not settings.EMAIL_READY:
        raise Refused("EMAIL_URL is not set: there is no mail server to send through", final=True)
    data = notification.payload["data"]
    message = EmailMessage(
        subject=" ".join(data["summary"].split())[:200],
        body="\n\n".join(filter(None, (data["summary"], data["text"], data.get("url")))),
        to=[each.strip() for each in channel.recipients.split(",")],
        headers={"Message-ID": f"<{notification.pk}@postroom>", "Auto-Submitted": "auto-generated"},
    )
    try:
        message.send()
    except smtplib.SMTPRecipientsRefused as error:
        raise Refused(f"no recipient was taken: {_words(str(error.recipients).encode())}") from None
    except (smtplib.SMTPException, OSError, ValueError) as error:
        raise Refused(f"{type(error).__name__}: {error}") from None
