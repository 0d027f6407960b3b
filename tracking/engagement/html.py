"""Finds the links of an HTML mail, and puts others into their place. Pure; used by services.dress.

A reader of tags as the HTML standard describes it (13.2.5, the states of tags, attributes, comments and raw text), with
places instead of a tree: every byte that is not the value of a link's `href` stays what it is. It is linear: what is
never closed ends the reading, as it ends the document for a browser.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping
from html import unescape
from html.entities import html5
from typing import NamedTuple

_BLANK = "\t\n\f\r "
_MARK = re.compile(r"<(?:!--|/?[A-Za-z]|[!?/])")
_NAME = re.compile(rf"[^{_BLANK}/>]+")
_PLAIN = re.compile(rf"</?[A-Za-z][^{_BLANK}/>]*>")  # a tag without attributes
_GAP = re.compile(rf"[{_BLANK}/]*")
_ATTRIBUTE = re.compile(rf"=?[^{_BLANK}/>=]*")
_EQUALS = re.compile(rf"[{_BLANK}]*=[{_BLANK}]*")
_UNQUOTED = re.compile(rf"[^{_BLANK}>]*")
_COMMENT_END = re.compile(r"--!?>")
_REFERENCE = re.compile(r"&(?:#[0-9]+;?|#[xX][0-9a-fA-F]+;?|[A-Za-z][A-Za-z0-9]*;?)")
_RAW = frozenset({"script", "style", "textarea", "title", "xmp", "iframe", "noembed", "noframes"})
_RAW_END = {name: re.compile(rf"</{name}(?=[{_BLANK}/>])", re.IGNORECASE) for name in _RAW}
_TELLING = _RAW | {"plaintext", "/body", "/html"}  # of tags without attributes; the others lead nowhere
_DROPPED = re.compile(r"[\t\n\r]")  # by every reader of addresses
_EDGES = "".join(map(chr, range(0x21)))


class Attribute(NamedTuple):
    """Where its value stands, without its quotes."""

    start: int
    end: int
    quote: str


class Tag(NamedTuple):
    """`name` in lower case, "/a" for an end tag."""

    start: int
    name: str
    attributes: Mapping[str, Attribute]


class Read(NamedTuple):
    tags: list[Tag]
    end: int  # where the document ends for a browser: before a tag or comment that is never closed


def rewritten(html: str, *, of: Callable[[str], str | None], pixel: str = "") -> str:
    """`of`: an address → the one that is to stand for it, or None. `pixel`: markup, put at the end of the body."""
    tags, end = _read(html)
    changes: list[tuple[int, int, str]] = []
    for tag in tags:
        href = tag.attributes.get("href")
        if tag.name not in ("a", "area") or href is None or _left_alone(html, tag):
            continue
        new = of(address(html[href.start : href.end]))
        if new is not None:
            changes.append((href.start, href.end, new if href.quote else f'"{new}"'))
    if pixel:
        place = _end_of_body(tags, end)
        changes.append((place, place, pixel))
    return _changed(html, sorted(changes))


def _left_alone(html: str, tag: Tag) -> bool:
    wish = tag.attributes.get("data-track")
    return wish is not None and html[wish.start : wish.end].strip().lower() == "off"


def _end_of_body(tags: list[Tag], end: int) -> int:
    for name in ("/body", "/html"):
        places = [tag.start for tag in tags if tag.name == name]
        if places:
            return places[-1]
    return end


def _changed(html: str, changes: list[tuple[int, int, str]]) -> str:
    parts, at = [], 0
    for start, end, new in changes:
        parts += [html[at:start], new]
        at = end
    return "".join([*parts, html[at:]])


def address(value: str) -> str:
    """The address that a reader takes an attribute's value for."""
    return _DROPPED.sub("", _REFERENCE.sub(lambda found: _character(value, found), value).strip(_EDGES))


def _character(value: str, found: re.Match[str]) -> str:
    """In an attribute, `&copy=1` is a parameter and no ©: a name without its semicolon counts only where it ends."""
    text = found.group()
    if text.endswith(";") or text.startswith("&#"):
        return unescape(text)
    ends = value[found.end() : found.end() + 1] != "="
    return unescape(text) if ends and text[1:] in html5 else text


# --- reading


def _read(html: str) -> Read:
    tags: list[Tag] = []
    at = 0
    while found := _MARK.search(html, at):
        start, mark = found.start(), found.group()
        plain = _PLAIN.match(html, start)
        if plain and plain.group()[1:-1].lower() not in _TELLING:  # most of a mail's: quickly passed
            at = plain.end()
            continue
        if mark == "<!--":
            after = _after_comment(html, found.end())
        elif mark[-1] in "!?/":
            after = _after(html.find(">", found.end()), 1)
        else:
            tag, after = _tag(html, start)
            if after is not None:
                tags.append(tag)
                after = _after_raw(html, tag.name, after)
        if after is None:
            return Read(tags, start)
        at = after
    return Read(tags, len(html))


def _after(place: int, length: int) -> int | None:
    return None if place < 0 else place + length


def _after_comment(html: str, at: int) -> int | None:
    for short in (">", "->"):
        if html.startswith(short, at):
            return at + len(short)
    found = _COMMENT_END.search(html, at)
    return found.end() if found else None


def _after_raw(html: str, name: str, at: int) -> int | None:
    """Where reading goes on after a start tag: text of these elements holds no tags but their own end."""
    if name == "plaintext":
        return None
    if name not in _RAW:
        return at
    found = _RAW_END[name].search(html, at)
    return found.start() if found else None


def _tag(html: str, start: int) -> tuple[Tag, int | None]:
    closing = html.startswith("</", start)
    name = _NAME.match(html, start + 1 + closing)
    assert name is not None  # _MARK has seen its first letter
    attributes: dict[str, Attribute] = {}
    after: int | None = name.end()
    for key, attribute, place in _attributes(html, name.end()):
        if attribute is not None:
            attributes.setdefault(key, attribute)  # the first of a name counts
        after = place
    return Tag(start, "/" * closing + name.group().lower(), attributes), after


def _attributes(html: str, at: int) -> Iterator[tuple[str, Attribute | None, int | None]]:
    """(name, value, where reading goes on) of each; the last one is the end of the tag, or None where there is none."""
    while True:
        at = _end(_GAP, html, at)
        if at >= len(html):
            yield "", None, None
            return
        if html[at] == ">":
            yield "", None, at + 1
            return
        name = html[at : _end(_ATTRIBUTE, html, at)].lower()
        at += len(name)
        equals = _EQUALS.match(html, at)
        if equals is None:
            yield name, Attribute(at, at, ""), at
            continue
        found = _value(html, equals.end())
        if found is None:
            yield "", None, None
            return
        at = found.end + len(found.quote)
        yield name, found, at


def _value(html: str, at: int) -> Attribute | None:
    quote = html[at : at + 1]
    if quote not in ('"', "'"):
        return Attribute(at, _end(_UNQUOTED, html, at), "")
    end = html.find(quote, at + 1)
    return None if end < 0 else Attribute(at + 1, end, quote)


def _end(pattern: re.Pattern[str], html: str, at: int) -> int:
    found = pattern.match(html, at)
    assert found is not None  # it matches nothing too
    return found.end()
