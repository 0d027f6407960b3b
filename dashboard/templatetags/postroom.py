"""What the templates need beyond Django's own: status pills, times, counts with a bound."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from django import template
from django.utils.html import format_html
from django.utils.safestring import SafeString

from dashboard import words

register = template.Library()


@register.filter
def pill(status: str) -> SafeString:
    return tag(status, status, words.SIGNS.get(status, "•"))


@register.simple_tag
def tag(tone: str, text: str, sign: str = "") -> SafeString:
    """A pill of any tone of tokens.css."""
    return format_html('<span class="pill pill-{}"><span aria-hidden="true">{}</span> {}</span>', tone, sign, text)


@register.filter
def moment(value: datetime | None) -> SafeString | str:
    """Relative, the exact time on hover."""
    if value is None:
        return "–"
    return format_html(
        '<time datetime="{}" title="{}">{}</time>', value.isoformat(), words.exact(value), words.ago(value)
    )


@register.filter
def clipped(code: str) -> SafeString:
    """The code of an account or a project as far as there is room, all of it on hover."""
    return format_html('<bdi class="clip clip-code" title="{}">{}</bdi>', code, code)


@register.filter
def relative(value: datetime) -> str:
    return words.ago(value)


@register.filter
def exactly(value: datetime | None) -> str:
    return words.exact(value) if value else "–"


@register.filter
def reason(code: str) -> str:
    return words.reason(code)


@register.filter
def spaced(code: str) -> str:
    return words.spaced(code)


@register.filter
def failure(code: str) -> str:
    return words.failure(code)


@register.filter
def thousands(count: int) -> str:
    return f"{count:,}"


@register.filter
def took(started: datetime, finished: datetime) -> str:
    seconds = (finished - started).total_seconds()
    return f"{seconds:.1f} s" if seconds < 60 else words.span(seconds)


@register.filter
def upto(count: int, bound: int) -> str:
    """Counts stop at a bound: beyond it the exact number would cost more than it tells."""
    return f"{bound:,}+" if count > bound else f"{count:,}"


@register.filter
def grouped(count: int) -> str:
    return f"{count:,}"


@register.filter
def lasting(seconds: float) -> str:
    return words.span(seconds)


@register.simple_tag(takes_context=True)
def may(context: dict[str, Any], permission: str) -> bool:
    return bool(context["request"].user.has_perm(permission))
