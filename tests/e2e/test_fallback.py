"""Messages with a fallback while workers are killed by kill -9: none is lost, no two legs run at once."""

from __future__ import annotations

import random
import time
from collections import Counter, defaultdict
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest

from providers.sandbox import pending_receipts, read_ledger, start_carrier, stop_carriers
from tests.e2e import chaos, harness, killer
from tests.e2e.harness import Stack, until

pytestmark = [pytest.mark.processes, pytest.mark.timeout(600)]

MESSAGES, KILLS, TTL = 120, 4, 6  # seconds
QUICK = {"LEASE_SECONDS": "22", "LOOP_SECONDS": "6"}
# The first way refuses a third, bounces a third later, and is silent about the rest: its ttl ends those.
TROUBLE = {
    **{"preset": "perfect", "permanent": 0.3, "temporary": 0.1, "bounce_hard": 0.3, "silent": 0.5},
    **{"answer": [0.02, 0.3], "accept": [0, 0.3], "deliver": [0.1, 2]},
}
WAYS = {"trouble": TROUBLE, "last": "perfect"}


@pytest.fixture
def stack(database: str, tmp_path: Path) -> Iterator[Stack]:
    accounts = [
        harness.sandbox(code, profile=profile, idempotent=True, max_in_flight=16) for code, profile in WAYS.items()
    ]
    with Stack(tmp_path, database, accounts, QUICK, {"max_attempts": 3, **chaos.RETRY}) as found:
        for code in WAYS:  # the carriers outlive every worker
            start_carrier(found.account(code), found.ledger(code))
        try:
            yield found
        finally:
            stop_carriers()


def hand_in(stack: Stack, number: int) -> str:
    document = {
        **{"provider": "trouble", "channel": "email", "recipient": f"u{number}@example.org"},
        **{"external_id": str(number), "content": {"text": "Hello"}},
        "fallback": [
            {
                **{"channel": "email", "recipient": f"other{number}@example.org", "provider": "last", "ttl": TTL},
                "content": {"text": "Hello again"},
            }
        ],
    }
    answer = stack.post("/v1/notifications", document, key=f"one-{number}", timeout=30)
    assert answer.status_code == 202, answer.text
    return str(answer.json()["id"])


def settled(stack: Stack) -> bool:
    """Nothing waits: no send, no leg, no receipt."""
    (state,) = stack.query(
        "SELECT (SELECT count(*) FROM queue), (SELECT count(*) FROM leg WHERE due_at IS NOT NULL),"
        " (SELECT count(*) FROM inbound WHERE state = 'new'), (SELECT count(*) FROM tracking_unmatched)"
    )
    return not any(state) and not any(pending_receipts(stack.ledger(code)) for code in WAYS)


def test_workers_are_killed_while_legs_are_taken(stack: Stack) -> None:
    dice = random.Random(7)
    hunter = killer.Killer(stack, dice)
    with ThreadPoolExecutor(4) as pool:
        handed_in = [pool.submit(hand_in, stack, number) for number in range(MESSAGES)]
        for kind in dice.choices(("dispatch", "receive"), k=KILLS):
            time.sleep(dice.uniform(0, 2))  # somewhere within the work, another place each time
            hunter.strike(kind)
            hunter.await_recovery()
        keys = {future.result() for future in handed_in}
    until(lambda: settled(stack), 180, stack.log_tails)

    attempts: dict[str, list[Any]] = defaultdict(list)
    for key, *rest in stack.query(
        "SELECT message_id, number, leg, started_at,"  # one whose worker was killed ends when that is found out
        " coalesce(finished_at, least(unknown_at, failed_at, bounced_at)) FROM attempt ORDER BY message_id, number"
    ):
        attempts[str(key)].append(rest)
    status = {str(key): found for key, found in stack.query("SELECT id, status FROM message")}
    assert set(status) == keys and set(status.values()) <= {"delivered", "read"}, Counter(status.values())

    legs = Counter(max(leg for _, leg, *_ in tries) for tries in attempts.values())
    assert legs[0] and legs[1], f"both ends are to be seen: {legs}"
    for key, tries in attempts.items():
        assert [leg for _, leg, *_ in tries] == sorted(leg for _, leg, *_ in tries), key  # none goes back
        for (*_, ended), (_, _, started, _) in pairwise(tries):
            assert ended and ended <= started, f"{key}: two at once"
    taken = [str(key) for (key,) in stack.query("SELECT message_id FROM event WHERE kind = 'next_leg'")]
    assert sorted(taken) == sorted(key for key, tries in attempts.items() if tries[-1][1] == 1), "taken once each"

    for code in WAYS:
        real: Counter[str] = Counter()
        for handover in read_ledger(stack.ledger(code)):
            numbers = {number for number, *_ in attempts[handover.message]}
            assert int(handover.echo.rpartition(".")[2]) in numbers, f"{handover.echo} is not on record"
            real[handover.message] += handover.taken and not handover.duplicate_of_key
        assert max(real.values()) == 1, f"{code} had a message twice"
    stack.run("manage.py", "check_invariants")
