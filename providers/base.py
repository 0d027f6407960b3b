"""The contract between Postroom and a provider's adapter. Called by tracking; an adapter never sees a Message.

An adapter is a subclass of `Provider`, made fresh for each use from an `Account` (plain data, no ORM). It has four
holes to fill: `send`, `verify`, `parse` and `poll`. Everything else that Postroom must know about a vendor is declared
as a class attribute, so that the dispatcher, the hook and the admin need no special case for any vendor.
"""

from __future__ import annotations

import enum
import secrets
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from decimal import Decimal
from typing import Any, ClassVar


class Channel(enum.StrEnum):
    EMAIL = "email"
    SMS = "sms"
    PUSH = "push"
    CHAT = "chat"


class FailureClass(enum.StrEnum):
    """Why a hand-over failed. The first three may be retried; `AMBIGUOUS` only where a second send is safe."""

    TEMPORARY = "temporary_failure"
    RATE_LIMIT = "rate_limit"
    TIMEOUT = "timeout"  # nothing was written: the provider never saw the message
    PERMANENT = "permanent"
    INVALID_RECIPIENT = "invalid_recipient"
    BLOCKED = "blocked"
    AMBIGUOUS = "ambiguous"  # the request was written, the outcome is not known


RETRYABLE = frozenset({FailureClass.TEMPORARY, FailureClass.RATE_LIMIT, FailureClass.TIMEOUT})


class BounceClass(enum.StrEnum):
    HARD = "hard"
    SOFT = "soft"
    BLOCK = "block"
    ADMIN = "admin"
    UNDETERMINED = "undetermined"


class ReceiptKind(enum.StrEnum):
    """What a provider can tell us about an attempt, in Postroom's words."""

    ACCEPTED = "accepted"  # the provider (or the next hop) took the message
    DEFERRED = "deferred"  # the provider is still trying: not a failure
    DELIVERED = "delivered"
    BOUNCED = "bounced"  # final; see Receipt.bounce_class
    FAILED = "failed"  # final: rejected, dropped or expired at the provider; see Receipt.failure_class
    OPENED = "opened"
    CLICKED = "clicked"
    READ = "read"
    COMPLAINED = "complained"
    UNSUBSCRIBED = "unsubscribed"
    OTHER = "other"  # kept on record, changes nothing (auto-replies, vendor words that have no mapping yet)


@dataclass(frozen=True, slots=True)
class Attachment:
    filename: str
    content_type: str
    content: bytes
    inline_id: str = ""


@dataclass(frozen=True, slots=True)
class Outbound:
    """One message as handed to an adapter: everything that a vendor's API may want to know."""

    echo: str  # "<message id>.<attempt number>": to be returned in every receipt where the vendor can
    idempotency_key: str  # constant over automatic retries
    channel: Channel
    recipient: str  # e-mail address, E.164 number, device token or chat address
    sender: str = ""
    reply_to: str = ""
    cc: tuple[str, ...] = ()
    bcc: tuple[str, ...] = ()
    headers: Mapping[str, str] = field(default_factory=dict)
    subject: str = ""
    text: str = ""
    html: str = ""
    data: Mapping[str, Any] = field(default_factory=dict)
    template_id: str = ""  # the vendor's template
    variables: Mapping[str, Any] = field(default_factory=dict)
    attachments: tuple[Attachment, ...] = ()
    tags: tuple[str, ...] = ()
    category: str = ""
    metadata: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class SendResult:
    """The provider took the message. A failure is raised as `ProviderError`, never returned."""

    reference: str = ""  # the provider's own id of the message
    code: str = ""
    text: str = ""
    parts: int | None = None
    cost: Decimal | None = None


@dataclass(frozen=True, slots=True)
class Classification:
    """Three facts that are kept apart: the class of the attempt, a bad address, a bad account."""

    failure: FailureClass = FailureClass.TEMPORARY
    bounce: BounceClass = BounceClass.UNDETERMINED
    suppress: bool = False  # the address is bad: suppress the recipient
    account_fault: bool = False  # the account or its set-up is bad: open the circuit, spare the recipient
    known: bool = True  # False: no row of the table matched; `failure` is the cautious default


class ProviderError(Exception):
    """A hand-over that failed. `text` is the vendor's own words, for operators; it may be empty."""

    def __init__(
        self,
        text: str,
        *,
        classification: Classification,
        code: str = "",
        retry_after: float | None = None,  # seconds, from Retry-After; beats our own back-off
        reference: str = "",
    ) -> None:
        super().__init__(text)
        self.text = text
        self.classification = classification
        self.code = code
        self.retry_after = retry_after
        self.reference = reference

    @property
    def failure(self) -> FailureClass:
        return self.classification.failure


class VerificationFailed(Exception):
    """A hook request that does not prove that it comes from the account's provider. Answered 401, nothing stored."""


UNREADABLE = "unreadable event"  # the word of a receipt that stands for an event which could not be read


class ParseFailed(Exception):
    """A verified request that the adapter cannot read. It stays stored, is shown in the admin and can be replayed."""


@dataclass(frozen=True, slots=True)
class HookRequest:
    """A provider's request, exactly as it arrived. `headers` has lower-case names."""

    method: str
    url: str  # as the provider called it (PUBLIC_URL based), with its query string
    headers: Mapping[str, str]
    body: bytes
    received_at: datetime


@dataclass(frozen=True, slots=True)
class Proof:
    """What `verify` learned beside "it is genuine". A `nonce` may be used once by one body (replay guard)."""

    nonce: str = ""


@dataclass(frozen=True, slots=True)
class Receipt:
    """One normalised event of one recipient. `code` and `text` stay raw; the classes say how they were read."""

    kind: ReceiptKind
    occurred_at: datetime | None  # aware; None where the vendor does not say
    echo: str = ""  # Outbound.echo, where the vendor returns it
    reference: str = ""  # the provider's id of the message
    recipient: str = ""
    event_id: str = ""  # the vendor's id of this event; "" makes Postroom dedupe on a digest of the item
    word: str = ""  # the vendor's own word for what happened ("hard_bounce", "DELIVRD")
    code: str = ""
    text: str = ""
    failure: FailureClass | None = None
    bounce: BounceClass | None = None
    suppress: bool = False
    machine: bool = False  # an open or click made by a prefetcher, privacy proxy or scanner
    known: bool = True  # False: the vendor's word or code has no mapping yet
    detail: Mapping[str, Any] = field(default_factory=dict)  # url, user agent, remote host: small, for the timeline


@dataclass(frozen=True, slots=True)
class Setting:
    """One thing that an operator fills in for an account. Secrets are stored encrypted and never shown again."""

    name: str
    label: str
    secret: bool = False
    required: bool = False
    default: Any = ""
    type: type = str  # str, int, float, bool or dict
    help: str = ""
    choices: tuple[str, ...] = ()
    rotates: bool = False  # proves receipts: while it is changed, the old one is accepted beside the new one


PREVIOUS = "_previous"  # ends the name under which the old value of such a setting is kept


@dataclass(frozen=True, slots=True)
class Account:
    """An account as an adapter sees it: plain data."""

    code: str
    kind: str
    channel: Channel
    settings: Mapping[str, Any] = field(
        default_factory=dict
    )  # every declared setting, secrets included, defaults filled in
    hook_url: str = ""  # the absolute address of this account's hook


class Provider:
    """An adapter for one vendor, bound to one account. Cheap to make; shared by threads, so it keeps no state of its
    own (connections live in thread-local storage)."""

    kind: ClassVar[str] = ""
    title: ClassVar[str] = ""
    channels: ClassVar[frozenset[Channel]] = frozenset()
    settings: ClassVar[tuple[Setting, ...]] = ()
    hook_methods: ClassVar[frozenset[str]] = frozenset({"POST"})
    signature_covers: ClassVar[str] = "body"  # what a forged request would have to break: shown in the admin
    # these two may depend on the account
    takes_idempotency_key: bool = False  # a second send with the same key is not delivered twice
    can_be_asked: bool = False  # `poll` works
    echoes_metadata: ClassVar[bool] = False  # receipts carry Outbound.echo
    sends_receipts: ClassVar[bool] = True
    unavailable_status: ClassVar[int] = 503  # what to answer this vendor while nothing can be stored
    timeout: ClassVar[float] = 15.0  # seconds in all for one send; the lease must outlast it

    def __init__(self, account: Account) -> None:
        self.account = account

    def accepted(self, name: str) -> tuple[str, ...]:
        """The values of a setting that rotates: the current one first, then the old one while it is accepted."""
        found = (self.account.settings.get(key) for key in (name, f"{name}{PREVIOUS}"))
        return tuple(str(value) for value in found if value)

    @classmethod
    def new_secret(cls, name: str) -> str:
        """A fresh value of a setting that rotates; "" where the vendor makes it and an operator brings it here."""
        return secrets.token_urlsafe(32)

    def send(self, outbound: Outbound) -> SendResult:
        """Hand one message over. Raises ProviderError; anything else that is raised counts as ambiguous."""
        raise NotImplementedError

    def verify(self, request: HookRequest) -> Proof:
        """Prove on the raw bytes, in constant time, that the request is the provider's. Raises VerificationFailed."""
        raise VerificationFailed(f"{self.kind} has no hook")

    def parse(self, request: HookRequest) -> list[Receipt]:
        """Read a verified request. Raises ParseFailed. Pure: no I/O, no clock."""
        raise ParseFailed(f"{self.kind} has no receipts")

    def poll(self, outbound: Outbound, reference: str) -> list[Receipt]:
        """Ask what became of a hand-over ([] = the provider never got it). Only where `can_be_asked`."""
        raise NotImplementedError

    @classmethod
    def check(cls, settings: Mapping[str, Any]) -> dict[str, str]:
        """Errors by setting name, beyond what `settings` declares. An account whose receipts could not be verified
        must be refused here."""
        return {}
