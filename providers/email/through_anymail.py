"""Sending through one of anymail's backends, for one account. Called by the adapters of vendors that anymail knows.

Every option is given here: what is left out would fall back to the project-wide settings, which belong to no account.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from email.encoders import encode_base64
from email.mime.base import MIMEBase
from typing import Any

import requests
from anymail.exceptions import (
    AnymailConfigurationError,
    AnymailError,
    AnymailRecipientsRefused,
    AnymailRequestsAPIError,
)
from anymail.message import AnymailStatus
from django.core.mail import EmailMultiAlternatives, get_connection

from providers import http
from providers.base import Attachment, BounceClass, Classification, FailureClass, Outbound, ProviderError
from providers.email import mime

ECHO = "postroom_echo"

Refused = Callable[[requests.Response], ProviderError]


def send(
    backend: str,
    outbound: Outbound,
    *,
    options: Mapping[str, Any],
    sender: str,
    metadata: Mapping[str, str],
    tags: list[str],
    extra: Mapping[str, Any] | None = None,
    merge: Mapping[str, Any] | None = None,
    timeout: float,
    refused: Refused,
) -> AnymailStatus:
    """`refused` reads the vendor's answer where it says no. Raises ProviderError."""
    try:
        message = _message(outbound, sender=sender)
    except ValueError as error:
        raise _unsendable(str(error)) from error
    message.metadata = {ECHO: outbound.echo, **metadata}
    message.tags = tags
    if extra:
        message.esp_extra = dict(extra)
    if outbound.template_id:
        message.template_id = outbound.template_id
        if merge is not None:
            message.merge_global_data = dict(merge)
    try:
        _connection(backend, options, timeout).send_messages([message])
    except http.HttpError as error:
        raise error.as_provider_error() from error
    except (AnymailError, AnymailConfigurationError, ValueError, TypeError) as error:
        raise _failure(error, refused) from error
    status: AnymailStatus = message.anymail_status
    if not _accepted(status.esp_response):  # anymail lets some refusals pass, with "unknown" for each recipient
        raise refused(status.esp_response)
    return status


def _connection(backend: str, options: Mapping[str, Any], timeout: float) -> Any:
    connection: Any = get_connection(
        backend,
        **options,
        timeout=timeout,
        ignore_unsupported_features=False,
        ignore_recipient_status=False,
        debug_api_requests=False,
        send_defaults=None,
        idna_encoder="idna2008",
    )
    connection.send_defaults = {}  # the project-wide ones come in whatever is passed
    connection.session = http.session()  # one that is there is neither made nor closed by the backend
    return connection


def _failure(error: Exception, refused: Refused) -> ProviderError:
    if isinstance(error, AnymailConfigurationError):
        return _unsendable(str(error), account_fault=True)
    if not isinstance(error, AnymailRequestsAPIError | AnymailRecipientsRefused):
        return _unsendable(" ".join(map(str, error.args)))  # a feature the vendor lacks, an address it would not take
    if error.response is None:  # the API's address cannot be called
        return _unsendable(str(error), account_fault=True)
    if _accepted(error.response) and not isinstance(error, AnymailRecipientsRefused):
        text = f"HTTP {error.response.status_code}, but the answer makes no sense"
        return ProviderError(text, classification=Classification(FailureClass.AMBIGUOUS))
    return refused(error.response)


def _accepted(response: requests.Response) -> bool:
    return 200 <= response.status_code < 300


def _unsendable(text: str, *, account_fault: bool = False) -> ProviderError:
    bounce = BounceClass.ADMIN if account_fault else BounceClass.UNDETERMINED
    return ProviderError(
        text, classification=Classification(FailureClass.PERMANENT, bounce, account_fault=account_fault)
    )


def _message(outbound: Outbound, *, sender: str) -> Any:
    """Typed loosely: anymail's options are attributes that Django's class does not declare."""
    addresses = [sender, outbound.recipient, *outbound.cc, *outbound.bcc, *filter(None, [outbound.reply_to])]
    mime.addresses(addresses)
    for text in (outbound.subject, *addresses):
        if "\r" in text or "\n" in text:
            raise mime.Unsendable("a line break in a header")
    message = EmailMultiAlternatives(
        subject=outbound.subject,
        body=outbound.text or outbound.html,
        from_email=sender,
        to=[outbound.recipient],
        cc=list(outbound.cc),
        bcc=list(outbound.bcc),
        reply_to=[outbound.reply_to] if outbound.reply_to else None,
        headers=mime.check_headers(outbound.headers),
        attachments=[_attachment(one) for one in outbound.attachments],
    )
    if outbound.html and outbound.text:
        message.attach_alternative(outbound.html, "text/html")
    elif outbound.html:
        message.content_subtype = "html"
    return message


def _attachment(attachment: Attachment) -> MIMEBase:
    part = MIMEBase(*mime.type_of(attachment))
    part.set_payload(attachment.content)
    encode_base64(part)
    part.add_header(
        "Content-Disposition", "inline" if attachment.inline_id else "attachment", filename=_name(attachment)
    )
    if attachment.inline_id:
        part["Content-ID"] = f"<{mime.token(attachment.inline_id)}>"
    return part


def _name(attachment: Attachment) -> str:
    return mime.token(attachment.filename) or "attachment"
