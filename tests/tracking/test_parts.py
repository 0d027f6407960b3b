"""Parts of an SMS against the tables of 3GPP TS 23.038 and the lengths of TS 23.040."""

from __future__ import annotations

import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tracking.parts import ALONE, BASIC, EXTENSION, GSM7, TOGETHER, UCS2, count

# Section 6.2.1, column by column (b7 b6 b5 from 000 to 111), as code points; 1B is the escape.
TABLE = [
    "0040 00A3 0024 00A5 00E8 00E9 00F9 00EC 00F2 00C7 000A 00D8 00F8 000D 00C5 00E5",
    "0394 005F 03A6 0393 039B 03A9 03A0 03A8 03A3 0398 039E ---- 00C6 00E6 00DF 00C9",
    "0020 0021 0022 0023 00A4 0025 0026 0027 0028 0029 002A 002B 002C 002D 002E 002F",
    "0030 0031 0032 0033 0034 0035 0036 0037 0038 0039 003A 003B 003C 003D 003E 003F",
    "00A1 0041 0042 0043 0044 0045 0046 0047 0048 0049 004A 004B 004C 004D 004E 004F",
    "0050 0051 0052 0053 0054 0055 0056 0057 0058 0059 005A 00C4 00D6 00D1 00DC 00A7",
    "00BF 0061 0062 0063 0064 0065 0066 0067 0068 0069 006A 006B 006C 006D 006E 006F",
    "0070 0071 0072 0073 0074 0075 0076 0077 0078 0079 007A 00E4 00F6 00F1 00FC 00E0",
]
# Section 6.2.1.1: the extension table.
EXTENDED = "000C 005E 007B 007D 005C 005B 007E 005D 007C 20AC"


def test_the_alphabet_is_the_standards() -> None:
    codes = [code for column in TABLE for code in column.split()]
    assert len(codes) == 128
    assert {chr(int(code, 16)) for code in codes if code != "----"} == BASIC
    assert {chr(int(code, 16)) for code in EXTENDED.split()} == EXTENSION
    assert not BASIC & EXTENSION


@pytest.mark.parametrize(
    ("text", "encoding", "units", "parts"),
    [
        ("", GSM7, 0, 1),
        ("a", GSM7, 1, 1),
        ("a" * 160, GSM7, 160, 1),
        ("a" * 161, GSM7, 161, 2),
        ("a" * 306, GSM7, 306, 2),
        ("a" * 307, GSM7, 307, 3),
        ("a" * 459, GSM7, 459, 3),
        ("a" * 460, GSM7, 460, 4),
        ("€", GSM7, 2, 1),
        ("€" * 80, GSM7, 160, 1),
        ("€" * 80 + "a", GSM7, 161, 2),
        ("€" * 76 + "a", GSM7, 153, 1),
        # 153 is odd: an escape and its septet do not fit into the last septet of a part, which stays empty
        ("€" * 153, GSM7, 306, 3),
        ("a" + "€" * 152 + "a", GSM7, 306, 2),
        ("a" * 152 + "€" + "a" * 152, GSM7, 306, 3),
        ("a" * 151 + "€" + "a" * 153, GSM7, 306, 2),
        ("|^€{}[]~\\", GSM7, 18, 1),
        ("ç", UCS2, 1, 1),  # only the capital is in the alphabet
        ("Привіт", UCS2, 6, 1),
        ("і" * 70, UCS2, 70, 1),
        ("і" * 71, UCS2, 71, 2),
        ("і" * 134, UCS2, 134, 2),
        ("і" * 135, UCS2, 135, 3),
        ("a" * 160 + "і", UCS2, 161, 3),
        ("😀" * 35, UCS2, 70, 1),
        ("😀" * 36, UCS2, 72, 2),
        # 67 is odd too: a surrogate pair is not torn
        ("😀" * 67, UCS2, 134, 3),
        ("і" + "😀" * 66 + "і", UCS2, 134, 2),
        ("`", UCS2, 1, 1),
        ("\t", UCS2, 1, 1),
    ],
)
def test_what_a_text_takes(text: str, encoding: str, units: int, parts: int) -> None:
    assert count(text) == (encoding, units, parts)


def test_a_letter_in_two_forms_is_counted_as_it_is_sent() -> None:
    composed = "é" * 160
    assert count(composed) == (GSM7, 160, 1)
    assert count(unicodedata.normalize("NFD", composed)).encoding == UCS2


@given(st.text(), st.text())
def test_more_text_never_takes_fewer_parts(one: str, other: str) -> None:
    assert count(one).parts <= count(one + other).parts or count(one).encoding != count(one + other).encoding


@given(st.text(max_size=2_000))
def test_the_parts_hold_the_text_and_no_more_than_a_unit_of_each_is_lost(text: str) -> None:
    encoding, units, parts = count(text)
    if parts == 1:
        assert units <= ALONE[encoding]
    else:
        assert (parts - 1) * (TOGETHER[encoding] - 1) < units <= parts * TOGETHER[encoding]
