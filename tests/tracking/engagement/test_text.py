"""Links of text messages."""

from __future__ import annotations

import time

import pytest

from tracking.engagement import text


@pytest.mark.parametrize(
    ("given", "expected", "links"),
    [
        ("See https://a.example/x?y=1.", "See S.", ["https://a.example/x?y=1"]),
        ("(https://a.example/x)", "(S)", ["https://a.example/x"]),
        ("https://a.example/x_(y)", "S", ["https://a.example/x_(y)"]),
        ("[see (https://a.example/x_(y)[1].)]", "[see (S.)]", ["https://a.example/x_(y)[1]"]),
        ("“https://a.example/”, HTTPS://B.EXAMPLE!", "“S”, S!", ["https://a.example/", "HTTPS://B.EXAMPLE"]),
        ("a.example mailto:a@b ftp://a/ xhttp://b/", "a.example mailto:a@b ftp://a/ xhttp://b/", []),
        ("https://...", "https://...", []),
        ("1https://a.example/", "1https://a.example/", []),
        ("https://a.example/ä\nhttp://b.example", "S\nS", ["https://a.example/ä", "http://b.example"]),
        ("", "", []),
    ],
)
def test_links_are_found_without_their_sentence(given, expected, links):
    found: list[str] = []

    def of(link: str) -> str | None:
        if len(link) < 10:
            return None
        found.append(link)
        return "S"

    assert text.rewritten(given, of=of) == expected
    assert found == links


@pytest.mark.parametrize("piece", [")", "])", ".)", "(", "http://a) ", "http://"])
def test_hostile_texts_take_no_longer(piece):
    started = time.perf_counter()
    text.rewritten("http://a" + piece * (1_000_000 // len(piece)), of=lambda link: None)
    assert time.perf_counter() - started < 10
