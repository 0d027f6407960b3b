"""The only outgoing HTTP client. Called by the adapters and by whoever publishes webhooks.

Every call has a total timeout, follows no redirect, ignores proxy variables, keeps no cookies and reads at most
64 KiB of the answer. With an `AddressPolicy` it connects only to an address that was checked, and to that very
address, so that neither an odd spelling of an IP nor a name that resolves differently the second time leads inside.

A failure says whether anything was written: a request of which nothing was written may be sent again, one whose
answer was lost has an unknown outcome.
"""

from __future__ import annotations

import functools
import http.cookiejar
import math
import os
import re
import socket
import ssl
import threading
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import Any

import orjson
import requests
import urllib3
from requests.adapters import HTTPAdapter
from requests.structures import CaseInsensitiveDict
from urllib3.connection import HTTPConnection, HTTPSConnection
from urllib3.connectionpool import HTTPConnectionPool, HTTPSConnectionPool
from urllib3.exceptions import NewConnectionError

from providers import sockets
from providers.addresses import AddressPolicy, AddressRefused, check_url
from providers.base import Classification, FailureClass, ProviderError
from providers.classify import classify

MAX_BODY = 64 * 1024
MAX_RETRY_AFTER = 86_400.0  # seconds
USER_AGENT = "Postroom"


class HttpError(Exception):
    """A call without an answer. `failure` is AMBIGUOUS where the request was written, wholly or in part."""

    def __init__(self, text: str, failure: FailureClass, *, account_fault: bool = False) -> None:
        super().__init__(text)
        self.text = text
        self.failure = failure
        self.account_fault = account_fault

    def as_provider_error(self) -> ProviderError:
        classification = Classification(failure=self.failure, account_fault=self.account_fault)
        return ProviderError(self.text, classification=classification)


class _Call(threading.local):
    policy: AddressPolicy | None = None
    written: bool = False


_call = _Call()  # the call that this thread is making


class _Connection(HTTPConnection):
    def _new_conn(self) -> socket.socket:
        try:
            # _dns_host is what urllib3 itself connects to: no brackets, no final dot
            found = sockets.resolve(self._dns_host, self.port)
        except OSError as error:
            raise NewConnectionError(self, str(error)) from error
        for address in found if _call.policy else ():
            if _call.policy and not _call.policy.permits(str(address[4][0])):
                raise AddressRefused(f"{self.host} leads to an address that is not allowed")
        try:
            return sockets.connect(found)
        except OSError as error:
            raise NewConnectionError(self, str(error)) from error

    def send(self, data: Any) -> None:
        if self.sock is None:
            self.connect()
        _call.written = True
        super().send(data)


class _TLSConnection(_Connection, HTTPSConnection):
    pass


class _Pool(HTTPConnectionPool):
    ConnectionCls = _Connection


class _TLSPool(HTTPSConnectionPool):
    ConnectionCls = _TLSConnection


@functools.cache
def _tls_context(authorities: str | None) -> ssl.SSLContext:
    """One for all threads: to load the authorities takes a tenth of a second. `authorities`: what it was made with."""
    return sockets.tls_context()


class _Adapter(HTTPAdapter):
    def init_poolmanager(self, connections: int, maxsize: int, block: bool = False, **kwargs: Any) -> None:
        self.poolmanager = urllib3.PoolManager(
            connections, maxsize=maxsize, block=block, ssl_context=_tls_context(os.environ.get("SSL_CERT_FILE"))
        )
        self.poolmanager.pool_classes_by_scheme = {"http": _Pool, "https": _TLSPool}

    def cert_verify(self, conn: Any, url: Any, verify: Any, cert: Any) -> None:
        """The authorities are loaded once, into the context, not again for each connection."""


# -- calling


class Session(requests.Session):
    """A requests.Session that keeps this module's promises; for one thread. Raises only HttpError."""

    def __init__(self, policy: AddressPolicy | None = None) -> None:
        super().__init__()
        self.policy = policy
        self.trust_env = False
        self.headers.update({"User-Agent": USER_AGENT, "Accept-Encoding": "identity"})
        self.cookies.set_policy(http.cookiejar.DefaultCookiePolicy(allowed_domains=[]))
        self.mount("https://", _Adapter())
        self.mount("http://", _Adapter())

    def send(self, request: requests.PreparedRequest, **kwargs: Any) -> requests.Response:
        seconds = kwargs.pop("timeout", None)
        if not isinstance(seconds, int | float) or not 0 < seconds < math.inf:
            raise ValueError("a call needs a timeout in seconds")
        kwargs |= {"stream": True, "allow_redirects": False, "timeout": seconds}
        _call.policy, _call.written = self.policy, False
        with sockets.deadline(seconds):
            try:
                check_url(request.url or "")
                return _read(super().send(request, **kwargs))
            except AddressRefused as error:
                raise HttpError(str(error), FailureClass.PERMANENT, account_fault=True) from error
            except (requests.RequestException, urllib3.exceptions.HTTPError, OSError) as error:
                raise _failure(error) from error


def _read(response: requests.Response) -> requests.Response:
    """The body, cut off where it passes the limit (the connection is dropped then)."""
    body = b""
    while len(body) <= MAX_BODY and (piece := response.raw.read(MAX_BODY, decode_content=False)):
        body += piece  # only the read that finds nothing more notices an answer that is too short
    response._content = body[:MAX_BODY]
    response._content_consumed = True  # type: ignore[attr-defined]
    if len(body) > MAX_BODY:
        response.raw.close()
    return response


def _failure(error: Exception) -> HttpError:
    if _call.written:
        return HttpError(f"no answer: {_reason(error)}", FailureClass.AMBIGUOUS)
    if sockets.expired():
        return HttpError(f"could not connect in time: {_reason(error)}", FailureClass.TIMEOUT)
    untrusted = any(isinstance(cause, ssl.SSLCertVerificationError) for cause in _causes(error))
    return HttpError(f"could not connect: {_reason(error)}", FailureClass.TEMPORARY, account_fault=untrusted)


def _reason(error: Exception) -> str:
    """What went wrong, in the words of the system. Not those of the libraries: they repeat the address, which may hold
    a secret, and applications read this text."""
    innermost = list(_causes(error))[-1]
    if isinstance(innermost, socket.gaierror):  # its numbers are the resolver's own
        return "the host's name cannot be resolved"
    return os.strerror(innermost.errno) if isinstance(innermost, OSError) and innermost.errno else _words(innermost)


def _words(error: BaseException) -> str:
    if isinstance(error, ssl.SSLCertVerificationError):
        return f"the certificate is not trusted: {error.verify_message}"
    return re.sub(r"(?<=[a-z])(?=[A-Z])", " ", type(error).__name__).lower()


def _causes(error: BaseException | None) -> Iterator[BaseException]:
    while error is not None:
        yield error
        error = error.__cause__ or error.__context__


_sessions = threading.local()


def session(policy: AddressPolicy | None = None) -> Session:
    """This thread's session: its connections are kept. A forked child gets its own."""
    kept: dict[tuple[int, AddressPolicy | None], Session] = _sessions.__dict__.setdefault("kept", {})
    key = (os.getpid(), policy)
    if key not in kept:
        kept[key] = Session(policy)
    return kept[key]


@dataclass(frozen=True, slots=True)
class Response:
    status: int
    headers: Mapping[str, str]  # names in any case
    body: bytes

    @property
    def ok(self) -> bool:
        return 200 <= self.status < 300

    def json(self) -> Any:
        """The body as JSON, or None where it is not."""
        try:
            return orjson.loads(self.body)
        except orjson.JSONDecodeError:
            return None


def request(
    method: str,
    url: str,
    *,
    timeout: float,
    headers: Mapping[str, str] | None = None,
    body: bytes | None = None,
    policy: AddressPolicy | None = None,
) -> Response:
    """One call. Raises HttpError where there is no answer; every answer, whatever its status, is returned."""
    try:
        answer = session(policy).request(method, url, headers=dict(headers or {}), data=body, timeout=timeout)
    except requests.RequestException as error:  # an address or a header that cannot be put into a request
        raise HttpError(_reason(error), FailureClass.PERMANENT, account_fault=True) from error
    return Response(answer.status_code, CaseInsensitiveDict(answer.headers), answer.content)


def retry_after(value: str | None, *, now: datetime | None = None) -> float | None:
    """Seconds to wait, from a Retry-After header in either of its two forms; None where it says nothing."""
    if not value:
        return None
    try:
        seconds = float(value)
    except ValueError:
        try:
            date = parsedate_to_datetime(value)
        except (ValueError, TypeError, OverflowError):
            return None
        date = date if date.tzinfo else date.replace(tzinfo=UTC)
        seconds = (date - (now or datetime.now(UTC))).total_seconds()
    return min(max(seconds, 0.0), MAX_RETRY_AFTER) if math.isfinite(seconds) else None


def refusal(
    provider: str, status: int, headers: Mapping[str, str], *, code: str = "", text: str = "", reference: str = ""
) -> ProviderError:
    """An answer that says no, classified by the vendor's code where it has one, else by the HTTP status."""
    return ProviderError(
        text or f"HTTP {status}",
        classification=classify(provider, code=code, text=text, http=status),
        code=code or str(status),
        retry_after=retry_after(headers.get("Retry-After")),
        reference=reference,
    )
