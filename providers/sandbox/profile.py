"""What a simulated carrier is like: how often each fault strikes and how long things take. Pure data, read by `plan`;
the adapter checks an account's setting with `make_profile`."""

from __future__ import annotations

import functools
import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, fields, replace
from typing import Any

Range = tuple[float, float]  # seconds at speed 1; short values are the common ones

ALWAYS = 1.0


@dataclass(frozen=True, slots=True)
class Profile:
    """Probabilities (0 to 1) unless the comment says otherwise. Those of one group exclude each other, first wins."""

    receipts: bool = True  # False: no receipts at all, and no ledger unless the account names one
    # the send call
    unreachable: float = 0.0
    hang: float = 0.0
    throttle: float = 0.0  # that a window of two seconds is a burst: 80 % of its messages are refused
    temporary: float = 0.0
    trouble_attempts: int = 1_000_000  # the four above strike up to this attempt, later ones go through
    invalid: float = 0.0  # by message: every attempt ends so
    permanent: float = 0.0  # by message
    lost: float = 0.0
    early: float = 0.0  # receipts arrive before the answer does
    # the fate of a message that was taken
    silent: float = 0.0
    bounce_hard: float = 0.0
    bounce_soft: float = 0.0
    blocked: float = 0.0
    expired: float = 0.0
    # on the way to it
    deferred: float = 0.0
    duplicate: float = 0.0  # by receipt
    reorder: float = 0.0  # the final receipt arrives before `accepted`
    # after a delivery
    bounce_late: float = 0.0
    opened: float = 0.0  # by a person
    machine_opened: float = 0.0
    clicked: float = 0.0  # of those opened
    read: float = 0.0
    complained: float = 0.0
    unsubscribed: float = 0.0
    # seconds
    answer: Range = (0.0, 0.0)
    accept: Range = (0.0, 0.0)
    deliver: Range = (0.0, 0.0)
    engage: Range = (0.0, 0.0)
    retry_after: float = 2.0


_BRISK: dict[str, Any] = {"answer": (0.01, 0.15), "accept": (0.02, 0.5), "deliver": (0.3, 5), "engage": (2, 60)}
_USUAL: dict[str, Any] = {"answer": (0.02, 0.6), "accept": (0.05, 2), "deliver": (0.5, 40), "engage": (5, 600)}
_ENGAGED: dict[str, Any] = {"opened": 0.35, "machine_opened": 0.15, "clicked": 0.25, "read": 0.6}
_REALISTIC: dict[str, Any] = {
    "unreachable": 0.005, "throttle": 0.03, "temporary": 0.04, "invalid": 0.015, "permanent": 0.01, "lost": 0.004,
    "early": 0.02, "silent": 0.02, "bounce_hard": 0.03, "bounce_soft": 0.02, "blocked": 0.01, "expired": 0.005,
    "deferred": 0.06, "duplicate": 0.03, "reorder": 0.04, "bounce_late": 0.01, "complained": 0.004,
    "unsubscribed": 0.006,
}  # fmt: skip
_STORMY: dict[str, Any] = {
    "unreachable": 0.03, "throttle": 0.15, "temporary": 0.15, "invalid": 0.03, "permanent": 0.03, "lost": 0.03,
    "early": 0.1, "silent": 0.05, "bounce_hard": 0.06, "bounce_soft": 0.05, "blocked": 0.03, "expired": 0.02,
    "deferred": 0.2, "duplicate": 0.25, "reorder": 0.25, "bounce_late": 0.05, "complained": 0.02,
    "unsubscribed": 0.02,
}  # fmt: skip

PRESETS: Mapping[str, Profile] = {
    "perfect": Profile(**_BRISK, **_ENGAGED),
    "calm": Profile(**_BRISK, **_ENGAGED, temporary=0.01, bounce_hard=0.01, bounce_soft=0.005, deferred=0.02),
    "realistic": Profile(**_USUAL, **_ENGAGED, **_REALISTIC),
    "stormy": Profile(**_USUAL, **_ENGAGED, **_STORMY),
    "instant": Profile(receipts=False),
}

# A recipient whose name is one of these forces an outcome; for phone numbers the last four digits stand for it.
# Everything that is not said here goes well, at the pace of the account's profile.
SCENARIOS: Mapping[str, Mapping[str, Any]] = {
    "delivered": {},
    "bounce": {"bounce_hard": ALWAYS},
    "soft": {"bounce_soft": ALWAYS},
    "block": {"blocked": ALWAYS},
    "late": {"bounce_late": ALWAYS},
    "expired": {"expired": ALWAYS},
    "deferred": {"deferred": ALWAYS},
    "invalid": {"invalid": ALWAYS},
    "permanent": {"permanent": ALWAYS},
    "retry": {"temporary": ALWAYS, "trouble_attempts": 2},
    "down": {"temporary": ALWAYS},
    "throttle": {"throttle": ALWAYS, "trouble_attempts": 1},
    "unreachable": {"unreachable": ALWAYS, "trouble_attempts": 1},
    "lost": {"lost": ALWAYS},
    "hang": {"hang": ALWAYS},
    "silent": {"silent": ALWAYS},
    "slow": {"answer": (3.0, 5.0), "deliver": (60.0, 120.0)},
    "early": {"early": ALWAYS},
    "reorder": {"reorder": ALWAYS},
    "duplicate": {"duplicate": ALWAYS},
    "open": {"opened": ALWAYS},
    "machine": {"machine_opened": ALWAYS},
    "click": {"opened": ALWAYS, "clicked": ALWAYS},
    "read": {"opened": ALWAYS, "read": ALWAYS},
    "complaint": {"complained": ALWAYS},
    "unsubscribe": {"unsubscribed": ALWAYS},
}
SCENARIO_OF_DIGITS: Mapping[str, str] = {f"{number:04d}": name for number, name in enumerate(SCENARIOS, start=1)}


def make_profile(value: object) -> Profile:
    """A preset's name, or a dict (or its JSON) of Profile's fields; its key `preset` names what it starts from.
    Raises ValueError."""
    return _cached_profile(value if isinstance(value, str) else json.dumps(value, sort_keys=True))


@functools.lru_cache(maxsize=256)
def _cached_profile(value: str) -> Profile:
    text = value.strip() or "realistic"
    if not text.startswith("{"):
        return _preset(text)
    changes = dict(json.loads(text))
    base = _preset(str(changes.pop("preset", "perfect")))
    unknown = changes.keys() - {one.name for one in fields(Profile)}
    if unknown:
        raise ValueError(f"unknown fault: {', '.join(sorted(unknown))}")
    return replace(base, **{name: _checked(getattr(base, name), name, raw) for name, raw in changes.items()})


def _preset(name: str) -> Profile:
    if name not in PRESETS:
        raise ValueError(f"unknown preset {name!r}: one of {', '.join(PRESETS)}")
    return PRESETS[name]


def _checked(default: object, name: str, raw: Any) -> Any:
    """`raw` in the form of the field's default, or ValueError."""
    if isinstance(default, bool) or name == "trouble_attempts":
        if not isinstance(raw, int):
            raise ValueError(f"{name}: a whole number or true/false is wanted")
        return raw
    if isinstance(default, tuple):
        if not isinstance(raw, list) or len(raw) != 2 or not 0 <= float(raw[0]) <= float(raw[1]):
            raise ValueError(f"{name}: two numbers of seconds are wanted, the shorter first")
        return float(raw[0]), float(raw[1])
    if not isinstance(raw, int | float) or raw < 0 or (raw > 1 and name != "retry_after"):
        raise ValueError(f"{name}: a number from 0 to 1 is wanted")
    return float(raw)


def scenario_of(recipient: str) -> str:
    """The outcome that a recipient forces: `bounce@…`, `bounce+x@…`, `bounce:…`, `bounce-…`, or a number …0002."""
    name = re.split(r"[@+:\-]", recipient.lower(), maxsplit=1)[0]
    if name in SCENARIOS:
        return name
    return SCENARIO_OF_DIGITS.get(recipient[-4:], "") if recipient.startswith("+") else ""


def profile_for(profile: Profile, recipient: str) -> Profile:
    scenario = scenario_of(recipient)
    return _forced(profile, scenario) if scenario else profile


@functools.lru_cache(maxsize=512)
def _forced(profile: Profile, scenario: str) -> Profile:
    pace = {name: getattr(profile, name) for name in ("answer", "accept", "deliver", "engage", "retry_after")}
    return Profile(**{**pace, "receipts": profile.receipts, **SCENARIOS[scenario]})
