"""SMTP connections, kept by each sender thread for each account, and the conversation. Called by the SMTP adapter.

What matters is where a conversation broke. Before the message's content was written, the server has nothing: on a kept
connection that means that it had gone stale, and a new one is tried once. While the content was being written, the
server cannot have accepted it, for its end was missing. After the end was written and no reply came, nobody knows.
"""

from __future__ import annotations

import contextlib
import functools
import os
import re
import smtplib
import socket
import ssl
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from typing import Any

from urllib3.util.wait import wait_for_read

from providers import sockets
from providers.base import BounceClass, Classification, FailureClass, ProviderError
from providers.classify import classify, statuses_in

MAX_IDLE = 30.0  # seconds; many servers close after a minute
MAX_MESSAGES = 200  # on one connection; some servers stop earlier and say 421

_DOTS = re.compile(rb"(?m)^\.")


@dataclass(frozen=True, slots=True)
class Server:
    """What makes two accounts share a connection: everything here."""

    host: str
    port: int
    security: str  # "starttls", "tls" or "none"
    username: str = ""
    password: str = ""
    helo: str = ""
    authority: str = ""  # PEM


@dataclass(frozen=True, slots=True)
class Recipient:
    address: str
    options: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Envelope:
    sender: str
    sender_options: tuple[str, ...]
    recipients: tuple[Recipient, ...]  # the first is the message's own, the others its copies


@dataclass(frozen=True, slots=True)
class Accepted:
    text: str
    refused: tuple[str, ...]  # copies that the server would not take: "<address>: <reply>"


class Client(smtplib.SMTP):
    server: Server

    def __init__(self, server: Server) -> None:
        self.server = server
        self.used_at = 0.0
        self.messages = 0
        super().__init__(server.host, server.port, local_hostname=server.helo or socket.gethostname())

    def _get_socket(self, host: str, port: int, timeout: Any) -> socket.socket:
        sock = sockets.connect(sockets.resolve(host, port))
        if self.server.security == "tls":
            return _tls(self.server.authority).wrap_socket(sock, server_hostname=host)
        return sock

    def fresh(self) -> bool:
        """Worth trying again: not idle for long, and the server has said nothing (as in 421, or the end) meanwhile."""
        young = time.monotonic() - self.used_at < MAX_IDLE and self.messages < MAX_MESSAGES
        return young and self.sock is not None and not wait_for_read(self.sock, timeout=0)


class _Stale(Exception):
    """A kept connection that turned out to be dead before any content was written."""


# One TLS set-up for each authority: loading the certificates takes longer than a message.
_tls: Callable[[str], ssl.SSLContext] = functools.lru_cache(maxsize=64)(sockets.tls_context)

_kept = threading.local()


def deliver(server: Server, *, compose: Callable[[Client], tuple[Envelope, bytes]]) -> Accepted:
    """Hands one message over. `compose` sees what the server can do. Raises ProviderError."""
    client = _take(server)
    if client is not None:
        try:
            return _converse(client, compose, kept=True)
        except _Stale:
            pass
    return _converse(_open(server), compose, kept=False)


def close_all() -> None:
    """Says goodbye on this thread's connections, without waiting for an answer."""
    for client in _connections().values():
        _drop(client)
    _connections().clear()


def _connections() -> dict[tuple[int, Server], Client]:
    kept: dict[tuple[int, Server], Client] = _kept.__dict__.setdefault("clients", {})
    return kept


def _take(server: Server) -> Client | None:
    # The process id: a forked child must not speak on its parent's connection.
    client = _connections().pop((os.getpid(), server), None)
    if client is None or client.fresh():
        return client
    _drop(client)
    return None


def _keep(client: Client) -> None:
    client.used_at = time.monotonic()
    _connections()[os.getpid(), client.server] = client


def _drop(client: Client) -> None:
    with contextlib.suppress(OSError):
        client.putcmd("QUIT")
    client.close()


# -- opening


def _open(server: Server) -> Client:
    client: Client | None = None
    try:
        client = Client(server)
        client.ehlo_or_helo_if_needed()
        if server.security == "starttls":
            client.starttls(context=_tls(server.authority))
            client.ehlo_or_helo_if_needed()
        if server.username:
            client.login(server.username, server.password)
    except OSError as error:  # smtplib's own errors are OSErrors too
        if client is not None:
            client.close()
        raise _unopened(error) from error
    return client


def _unopened(error: OSError) -> ProviderError:
    if isinstance(error, smtplib.SMTPResponseException) and error.smtp_code > 0:
        refused = refusal(error.smtp_code, error.smtp_error)
        if error.smtp_code >= 500:  # it knows nothing of the message yet: what it refuses is us
            refused.classification = Classification(FailureClass.PERMANENT, BounceClass.ADMIN, account_fault=True)
        return refused
    if isinstance(error, smtplib.SMTPException) and not isinstance(error, smtplib.SMTPServerDisconnected):
        faulty = Classification(FailureClass.PERMANENT, BounceClass.ADMIN, account_fault=True)
        return ProviderError(str(error), classification=faulty)
    untrusted = isinstance(error, ssl.SSLCertVerificationError)
    failure = FailureClass.TIMEOUT if sockets.expired() else FailureClass.TEMPORARY
    return ProviderError(f"could not connect: {error}", classification=Classification(failure, account_fault=untrusted))


# -- the conversation


def _converse(client: Client, compose: Callable[[Client], tuple[Envelope, bytes]], *, kept: bool) -> Accepted:
    try:
        envelope, content = compose(client)
        with _before_content(kept=kept):
            refused = _announce(client, envelope)
        accepted = Accepted(_transmit(client, content), refused)
    except ProviderError as error:
        _after_refusal(client, error)
        raise
    except BaseException:
        client.close()
        raise
    client.messages += 1
    _keep(client)
    return accepted


@contextlib.contextmanager
def _before_content(*, kept: bool) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        if kept and not sockets.expired():
            raise _Stale from error
        failure = FailureClass.TIMEOUT if sockets.expired() else FailureClass.TEMPORARY
        raise ProviderError(f"connection lost: {error}", classification=Classification(failure)) from error


def _announce(client: Client, envelope: Envelope) -> tuple[str, ...]:
    """Everything up to the 354. Returns the copies that were refused; raises where the message's own address was."""
    replies = _replies(client, envelope)
    _expect(next(replies), 250, about="sender")
    refused = []
    for number, recipient in enumerate(envelope.recipients):
        reply = next(replies)
        if reply[0] in (250, 251):
            continue
        if number == 0 or reply[0] == 421:
            _expect(reply, 250, about="recipient")
        refused.append(f"{recipient.address}: {reply[0]} {_text(reply[1])}")
    _expect(next(replies), 354, about="content")
    return tuple(refused)


def _replies(client: Client, envelope: Envelope) -> Iterator[tuple[int, bytes]]:
    """The replies to MAIL, to each RCPT and to DATA: all asked for at once where the server allows it (RFC 2920), for
    each question costs a way there and back; else one after the other, and none after one that was not wanted."""
    # Not smtplib's mail() and rcpt(): they parse once more what was checked, which takes as long as all the rest.
    client.command_encoding = "utf-8"
    commands = [
        _command("MAIL FROM:", envelope.sender, envelope.sender_options),
        *(_command("RCPT TO:", each.address, each.options) for each in envelope.recipients),
        "DATA",
    ]
    if not client.has_extn("pipelining"):
        yield from (client.docmd(command) for command in commands)
        return
    client.send("".join(f"{command}\r\n" for command in commands))
    replies = []
    for _ in commands:
        replies.append(client.getreply())
        if replies[-1][0] == 421:  # it hangs up: there are no more
            break
    if replies[-1][0] == 354 and not all(200 <= code < 300 for code, _ in replies[:2]):
        client.close()  # it waits for content that it must not get: nothing else ends that
    yield from replies


def _command(verb: str, address: str, options: tuple[str, ...]) -> str:
    return " ".join((f"{verb}<{address}>", *options))


def _transmit(client: Client, content: bytes) -> str:
    stuffed = _DOTS.sub(b"..", content)
    try:
        client.send(stuffed + (b".\r\n" if stuffed.endswith(b"\r\n") else b"\r\n.\r\n"))
    except OSError as error:  # the end of the content never left
        failure = FailureClass.TIMEOUT if sockets.expired() else FailureClass.TEMPORARY
        raise ProviderError(f"connection lost: {error}", classification=Classification(failure)) from error
    try:
        reply = client.getreply()
    except OSError as error:
        reply = (-1, str(error).encode(errors="replace"))
    if not 200 <= reply[0] < 600:  # no reply, or no SMTP
        text = f"no reply after the end of the content: {_text(reply[1])}"
        raise ProviderError(text, classification=Classification(FailureClass.AMBIGUOUS))
    _expect(reply, 250, about="content")
    return f"{reply[0]} {_text(reply[1])}"


def _expect(reply: tuple[int, bytes], wanted: int, *, about: str) -> None:
    if reply[0] <= 0:
        raise smtplib.SMTPServerDisconnected("not an SMTP reply")
    if reply[0] != wanted and not (wanted == 250 and 200 <= reply[0] < 300):
        raise refusal(reply[0], reply[1], about=about)


def _after_refusal(client: Client, error: ProviderError) -> None:
    """A clean refusal leaves the connection usable."""
    clean = error.code != "421" and not error.code.startswith("421 ") and error.code
    try:
        if clean and client.rset()[0] == 250:
            _keep(client)
            return
    except OSError:
        pass
    _drop(client)


def refusal(code: int, text: bytes | str, *, about: str = "") -> ProviderError:
    """A reply that says no. Only a reply about the recipient, or a status that names the mailbox, condemns an address:
    a bare 550 to the sender or to the content is about something else."""
    words = f"{code} {_text(text)}"
    _, enhanced = statuses_in(words)
    found = classify("smtp", enhanced=enhanced, reply=str(code), text=words)
    if found.suppress and about in ("sender", "content") and not enhanced.startswith("5.1."):
        fault = about == "sender"
        bounce = BounceClass.ADMIN if fault else BounceClass.UNDETERMINED
        found = replace(found, failure=FailureClass.PERMANENT, bounce=bounce, suppress=False, account_fault=fault)
    return ProviderError(words, classification=found, code=f"{code} {enhanced}".strip())


def _text(reply: bytes | str) -> str:
    return reply if isinstance(reply, str) else " ".join(reply.decode("utf-8", "replace").split())
