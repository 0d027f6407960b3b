"""What pydantic finds wrong, in plain words: the rest of a sentence that begins with the field's name. Pure; used
wherever a model of ours answers callers.

None of them repeats a value: answers are stored, and must hold no recipient.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, get_args

from pydantic_core import ErrorDetails
from pydantic_core.core_schema import ErrorType

_OBJECT = "must be an object"
_LIST = "must be a list"
_NUMBER, _WHOLE = "must be a number", "must be a whole number"
_YES_OR_NO = "must be true or false"
_DATE, _MOMENT = "must be a date, as 2026-03-31", "must be a date and time (RFC 3339)"
_UUID = "must be a UUID"
_WORDS = {
    "missing": "is needed",
    "extra_forbidden": "is not a known field",
    "none_required": "must be null",
    **dict.fromkeys(("model_type", "model_attributes_type", "dataclass_type", "dict_type", "mapping_type"), _OBJECT),
    **dict.fromkeys(("list_type", "tuple_type", "set_type", "frozen_set_type", "iterable_type"), _LIST),
    "string_type": "must be a text",
    "string_unicode": "must be valid Unicode",
    "string_too_short": "must have at least {min_length:,} characters",
    "string_too_long": "must have at most {max_length:,} characters",
    "string_pattern_mismatch": "must match {pattern}",
    "too_short": "must hold at least {min_length:,} items",
    "too_long": "must hold at most {max_length:,} items",
    **dict.fromkeys(("int_type", "int_parsing", "int_from_float"), _WHOLE),
    "int_parsing_size": "is too large a number",
    **dict.fromkeys(("float_type", "float_parsing", "finite_number"), _NUMBER),
    **dict.fromkeys(("decimal_type", "decimal_parsing"), _NUMBER),
    "decimal_max_digits": "must have at most {max_digits} digits",
    "decimal_max_places": "must have at most {decimal_places} digits after the point",
    "decimal_whole_digits": "must have at most {whole_digits} digits before the point",
    **dict.fromkeys(("bool_type", "bool_parsing"), _YES_OR_NO),
    "greater_than": "must be greater than {gt}",
    "greater_than_equal": "must be at least {ge}",
    "less_than": "must be less than {lt}",
    "less_than_equal": "must be at most {le}",
    **dict.fromkeys(("literal_error", "enum"), "must be {expected}"),
    **dict.fromkeys(("date_type", "date_parsing"), _DATE),
    **dict.fromkeys(("datetime_type", "datetime_parsing"), _MOMENT),
    **dict.fromkeys(("uuid_type", "uuid_parsing"), _UUID),
    "value_error": "{error}",  # a validator's of ours
}
_OF_ONE = {
    "string_too_short": "must not be empty",
    "string_too_long": "must have at most one character",
    "too_short": "must not be empty",
    "too_long": "must hold at most one item",
}
_OURS_TOO = frozenset(get_args(ErrorType)) - set(_WORDS)


def of(error: ErrorDetails, *, parameter: bool = False) -> str:
    """`parameter`: it was a parameter of an address rather than a field."""
    kind, about = error["type"], error.get("ctx", {})
    if kind in _OURS_TOO:
        return "is not possible here"
    if kind not in _WORDS:  # a validator's of ours, in our own words
        return error["msg"]
    if parameter and kind == "extra_forbidden":
        return "is not a known parameter"
    return _template(kind, about).format_map(about)


def _template(kind: str, about: Mapping[str, Any]) -> str:
    if kind in ("too_long", "too_short") and about.get("field_type") == "Value":
        kind = f"string_{kind}"  # a text that another validator of ours has looked at before
    bound = about.get("min_length", about.get("max_length"))
    return _OF_ONE[kind] if bound == 1 and kind in _OF_ONE else _WORDS[kind]
