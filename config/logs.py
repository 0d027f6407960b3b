"""How log lines look, and what never gets into them: no recipient, no content, no token. Named by settings.LOGGING.

What an exception says may quote what a message held (PostgreSQL shows the failing row, a vendor names the recipient).
So of an exception its kind and its place are logged; its words only where they can be about nothing but machinery.
"""

from __future__ import annotations

import copy
import logging
import re
import traceback
from datetime import UTC, datetime
from typing import Any

import orjson
import structlog
from django.core.exceptions import ImproperlyConfigured
from django.http import HttpRequest
from structlog.stdlib import ProcessorFormatter
from structlog.typing import EventDict, WrappedLogger

from config.requestlog import route_of
from providers.base import VerificationFailed
from tracking.away import AWAY

_TELLING = (*AWAY, OSError, VerificationFailed, ImproperlyConfigured)
_AFTER = re.compile(r"\n(?:DETAIL|CONTEXT|LINE|HINT|QUERY)\b.*", re.DOTALL)  # where PostgreSQL quotes rows
_SCRUBBED = (
    (re.compile(r"[^\s@/<>\"'(),:;=]+@[^\s@/<>\"'(),:;]+"), "[address]"),
    (re.compile(r"\+\d{7,15}\b"), "[number]"),
    (re.compile(r"/hooks/[^\s/\"']+"), "/hooks/[token]"),
    (re.compile(r"\b(pr_[a-z0-9]+)_[\w-]{20,}"), r"\1_…"),  # an API key
)


def scrub(text: str) -> str:
    """A net under everything else: what looks like an address, a number or a token goes."""
    for pattern, instead in _SCRUBBED:
        text = pattern.sub(instead, text)
    return text


def words(error: BaseException) -> str:
    """An exception in one line."""
    name = type(error).__qualname__
    if not isinstance(error, _TELLING):
        state = getattr(error.__cause__, "sqlstate", None)
        return f"{name} (SQLSTATE {state})" if state else name
    told = " ".join(_AFTER.sub("", str(error)).split())
    return f"{name}: {told}" if told else name


def trace(error: BaseException) -> str:
    """Where it was raised, and from what: as Python prints it, but with `words` instead of the whole text."""
    before = error.__cause__ or (None if error.__suppress_context__ else error.__context__)
    lines = [trace(before), "… which led to:"] if before is not None else []
    lines += [f"  {frame.filename}:{frame.lineno} {frame.name}" for frame in traceback.extract_tb(error.__traceback__)]
    return "\n".join([*lines, words(error)])


def formatter(style: str) -> logging.Formatter:
    if style not in _RENDERERS:
        raise ImproperlyConfigured(f"LOG_FORMAT is {style!r}; it may be text or json")
    logging.raiseExceptions = False  # what cannot be formatted would be printed as it is
    return _Lines(
        foreign_pre_chain=[structlog.contextvars.merge_contextvars, _where],
        processors=[ProcessorFormatter.remove_processors_meta, _clean, _RENDERERS[style]],
    )


class _Lines(ProcessorFormatter):
    def format(self, record: logging.LogRecord) -> str:
        kept = copy.copy(record)  # other handlers see it as it is
        request = getattr(record, "request", None)
        if isinstance(request, HttpRequest) and record.args:  # "Internal Server Error: /v1/…"
            route = route_of(request)
            kept.args = tuple(route if arg == request.path else arg for arg in record.args)
        elif isinstance(record.args, tuple):
            kept.args = tuple(words(arg) if isinstance(arg, BaseException) else arg for arg in record.args)
        if record.exc_info and record.exc_info[1]:
            kept._trace = trace(record.exc_info[1])
        kept.exc_info = kept.exc_text = kept.stack_info = None
        return super().format(kept)


def _where(logger: WrappedLogger, method: str, event: EventDict) -> EventDict:
    record: Any = event["_record"]
    event["level"], event["logger"] = record.levelname, record.name
    event["at"] = datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds")
    if found := getattr(record, "_trace", None):
        event["trace"] = found
    return event


def _clean(logger: WrappedLogger, method: str, event: EventDict) -> EventDict:
    return {name: scrub(value) if isinstance(value, str) else value for name, value in event.items()}


def _json(logger: WrappedLogger, method: str, event: EventDict) -> str:
    return orjson.dumps(event, default=str, option=orjson.OPT_SORT_KEYS).decode()


def _text(logger: WrappedLogger, method: str, event: EventDict) -> str:
    """One line, and the trace below it. Line ends inside would let a caller forge lines."""
    rest = dict(event)
    line = [rest.pop(name) for name in ("at", "level", "logger")] + [str(rest.pop("event")).replace("\n", "\\n")]
    found = rest.pop("trace", None)
    line += [f"{name}={value}" for name, value in sorted(rest.items())]
    return " ".join(line) + (f"\n{found}" if found else "")


_RENDERERS = {"text": _text, "json": _json}
