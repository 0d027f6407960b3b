"""Tokens: what was signed here is read again, and nothing else is."""

from __future__ import annotations

from uuid import UUID, uuid4

import pytest

from tracking import ids
from tracking.engagement import tokens
from tracking.engagement.tokens import Handed, Use


def test_what_was_signed_is_read_for_the_same_use_alone():
    handed = Handed(ids.new(), 3, 17)
    for use in Use:
        token = tokens.sign(use, handed)
        assert token.isascii() and set(token) <= set("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_")
        for other in Use:
            assert tokens.read(other, token) == (handed if other is use else None)


def test_every_changed_bit_is_noticed():
    token = tokens.sign(Use.CLICK, Handed(ids.new(), 1, 0))
    for place in range(len(token) - 1):  # of the last character some bits say nothing
        other = "A" if token[place] != "A" else "B"
        assert tokens.read(Use.CLICK, token[:place] + other + token[place + 1 :]) is None


@pytest.mark.parametrize(
    "token", ["", "x", "A" * 48, "A" * 47, "é" * 48, "=" * 48, "A" * 10_000, "../../etc/passwd", "\x00" * 48]
)
def test_what_is_no_token_is_none(token):
    assert tokens.read(Use.OPEN, token) is None


def test_another_key_signs_others(settings):
    handed = Handed(ids.new(), 1)
    token, code = tokens.sign(Use.OPEN, handed), tokens.code(handed)
    settings.ADDRESS_KEY = "another key"
    assert tokens.read(Use.OPEN, token) is None
    assert tokens.code(handed) != code


def test_a_key_that_is_no_message_is_none():
    assert tokens.read(Use.OPEN, tokens.sign(Use.OPEN, Handed(uuid4(), 1))) is None
    assert tokens.read(Use.OPEN, tokens.sign(Use.OPEN, Handed(UUID(int=0), 1))) is None


def test_codes_are_the_same_for_the_same_link_and_no_others():
    key = ids.new()
    made = {tokens.code(Handed(key, attempt, link)) for attempt in range(1, 20) for link in range(50)}
    assert len(made) == 19 * 50 and all(tokens.is_code(code) for code in made)
    assert tokens.code(Handed(key, 1, 0)) == tokens.code(Handed(key, 1, 0))
    assert not any(tokens.is_code(text) for text in ("", "abc", "a" * 12, "../../../ab", "é" * 11, "a" * 10 + "\n"))
