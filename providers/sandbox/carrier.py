"""The carrier's side of the sandbox: reads the ledger, knows from it which receipts are due, and sends them to the
account's hook until they are taken. Started by the adapter; tests and commands call `deliver_due` and `start_carrier`.

One process delivers for a ledger: whoever holds the lock file, which the kernel frees when that process dies. What it
knows stands in a small SQLite file, written by the lock's holder alone; lost or deleted, it is made again from the
ledger (and receipts are then sent twice, as carriers do).
"""

from __future__ import annotations

import fcntl
import os
import sqlite3
import threading
import time
from collections.abc import Iterable, Iterator
from contextlib import closing, contextmanager
from pathlib import Path

import orjson
import requests

from providers.base import Account
from providers.sandbox import wire
from providers.sandbox.ledger import Handover, iterate
from providers.sandbox.plan import Chance, Step, plan_steps
from providers.sandbox.profile import make_profile, profile_for

TIMEOUT = 10.0  # seconds for one delivery
CHUNK = 1 << 20  # bytes of the ledger taken in at once
LOOK = 0.1  # seconds between looks at a ledger that other processes write to
RETRY_FIRST, RETRY_LONGEST = 0.5, 15.0  # seconds
REFUSED_TRIES = 10  # a hook that answers 4xx so often means it

Row = tuple[str, int, bytes]  # id, tries, body

_SCHEMA = """
PRAGMA journal_mode = WAL;
PRAGMA synchronous = NORMAL;
CREATE TABLE IF NOT EXISTS pending (
    id TEXT PRIMARY KEY, due REAL NOT NULL, tries INTEGER NOT NULL DEFAULT 0, body BLOB NOT NULL
) WITHOUT ROWID;
CREATE INDEX IF NOT EXISTS pending_due ON pending (due);
CREATE TABLE IF NOT EXISTS progress (one INTEGER PRIMARY KEY CHECK (one = 1), offset INTEGER NOT NULL);
INSERT OR IGNORE INTO progress VALUES (1, 0);
"""


def receipts_of(account: Account, handover: Handover) -> Iterator[tuple[Step, dict[str, str]]]:
    """The receipts that a hand-over leads to: each step with its event as it will be sent. Pure."""
    if not handover.taken or handover.duplicate_of_key:
        return
    speed = float(account.settings.get("speed") or 1)
    profile = profile_for(make_profile(account.settings.get("profile", "")), handover.recipient)
    chance = Chance(seed=int(account.settings.get("seed") or 0), echo=handover.echo)
    for number, step in enumerate(plan_steps(profile, chance, account.channel)):
        event = wire.event(
            handover,
            number=str(number),
            word=step.type,
            moment=handover.time.timestamp() + step.at / speed,
            code=step.code,
            text=step.text,
        )
        yield step, event


def post(account: Account, events: Iterable[bytes], session: requests.Session) -> int:
    """One delivery to the hook: its status, or 0 where there was no answer."""
    body = b'{"events":[' + b",".join(events) + b"]}"
    headers = {"Content-Type": "application/json"}
    headers |= wire.sign(str(account.settings["hook_secret"]), body, int(time.time()))
    try:
        answer = session.post(account.hook_url, data=body, headers=headers, timeout=TIMEOUT, allow_redirects=False)
    except requests.RequestException:
        return 0
    return answer.status_code


class Carrier:
    """The delivering side of one account's ledger, in the process that holds its lock."""

    def __init__(self, account: Account, ledger: str) -> None:
        self.account = account
        self.ledger = Path(ledger)
        self.woken = threading.Event()
        self._stopping = False
        self.thread = threading.Thread(target=self.run, name=f"sandbox {account.code}", daemon=True)
        self._session = requests.Session()
        self._session.trust_env = False  # the hook is addressed directly, whatever proxy the machine has

    def run(self) -> None:
        """Until stopped: wait for the lock, then deliver what is due."""
        while not self._stopping:
            with self._lock() as held:
                if held:
                    self._deliver()
            self.woken.wait(LOOK)
            self.woken.clear()

    def stop(self) -> None:
        self._stopping = True
        self.woken.set()
        self.thread.join()

    def _deliver(self) -> None:
        with closing(self._open()) as store:
            while not self._stopping:
                if self.work(store, now=time.time()) is None:
                    self.woken.wait(LOOK)
                    self.woken.clear()

    def deliver_due(self, now: float) -> int | None:
        with self._lock() as held:
            if not held:
                return None
            with closing(self._open()) as store:
                done = 0
                while (sent := self.work(store, now=now)) is not None:
                    done += sent
                return done

    def work(self, store: sqlite3.Connection, *, now: float) -> int | None:
        """Takes in what the ledger has gained, then sends one batch: how many receipts the hook took, or None where
        nothing is due."""
        while self._take_in(store):
            pass
        rows = store.execute(
            "SELECT id, tries, body FROM pending WHERE due <= ? ORDER BY due LIMIT ?", (now, self._batch())
        ).fetchall()
        if not rows:
            return None
        status = post(self.account, (row[2] for row in rows), self._session)
        self._settle(store, rows, status=status, now=now)
        return len(rows) if 200 <= status < 300 else 0

    def _batch(self) -> int:
        return max(1, int(self.account.settings.get("batch") or 1))

    def _take_in(self, store: sqlite3.Connection) -> bool:
        """One chunk of the ledger becomes pending receipts: both the receipts and the new offset, or neither."""
        (offset,) = store.execute("SELECT offset FROM progress").fetchone()
        chunk = self._read(offset)
        if chunk is None:
            offset, chunk = 0, self._read(0) or b""
        if not chunk:
            return False
        with store:
            store.executemany(
                "INSERT OR IGNORE INTO pending (id, due, body) VALUES (?, ?, ?)",
                [row for handover in iterate(chunk) for row in self._rows(handover)],
            )
            store.execute("UPDATE progress SET offset = ?", (offset + len(chunk),))
        return True

    def _read(self, offset: int) -> bytes | None:
        """Whole lines from the offset on; None where the ledger was replaced by a shorter one."""
        if not self.ledger.exists():
            return b""
        with self.ledger.open("rb") as file:
            if file.seek(0, os.SEEK_END) < offset:
                return None
            file.seek(offset)
            chunk = file.read(CHUNK)
        return chunk[: chunk.rfind(b"\n") + 1]

    def _rows(self, handover: Handover) -> Iterator[tuple[str, float, bytes]]:
        speed = float(self.account.settings.get("speed") or 1)
        taken = handover.time.timestamp()
        for step, event in receipts_of(self.account, handover):
            for copy in range(step.copies):
                yield f"{event['id']}/{copy}", taken + (step.due + copy) / speed, orjson.dumps(event)

    def _settle(
        self, store: sqlite3.Connection, rows: list[tuple[str, int, bytes]], *, status: int, now: float
    ) -> None:
        settled = 200 <= status < 300
        final = 400 <= status < 500 and status not in (408, 425, 429)
        with store:
            for name, tries, _ in rows:
                if settled or (final and tries + 1 >= REFUSED_TRIES):
                    store.execute("DELETE FROM pending WHERE id = ?", (name,))
                else:
                    due = now + min(RETRY_FIRST * 2**tries, RETRY_LONGEST)
                    store.execute("UPDATE pending SET tries = tries + 1, due = ? WHERE id = ?", (due, name))

    def _open(self) -> sqlite3.Connection:
        store = sqlite3.connect(f"{self.ledger}.pending", timeout=30)
        store.executescript(_SCHEMA)
        return store

    @contextmanager
    def _lock(self) -> Iterator[bool]:
        self.ledger.parent.mkdir(parents=True, exist_ok=True)
        descriptor = os.open(f"{self.ledger}.lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        _locks.add(descriptor)
        try:
            yield _locked(descriptor)
        finally:
            _locks.discard(descriptor)
            os.close(descriptor)


def _locked(descriptor: int) -> bool:
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


_carriers: dict[str, Carrier] = {}
_starting = threading.Lock()
_locks: set[int] = set()


def start_carrier(account: Account, ledger: str) -> Carrier:
    """The account's carrier in this process: one daemon thread a ledger, idle where another process delivers."""
    with _starting:
        carrier = _carriers.get(ledger)
        if carrier is None or not carrier.thread.is_alive():
            carrier = _carriers[ledger] = Carrier(account, ledger)
            carrier.thread.start()
    carrier.account = account  # its settings may have changed since the start
    return carrier


def stop_carriers() -> None:
    """Ends this process's carriers; receipts that are still to be sent wait in their files."""
    with _starting:
        for carrier in _carriers.values():
            carrier.stop()
        _carriers.clear()


def deliver_due(account: Account, ledger: str, *, now: float | None = None) -> int | None:
    """Sends what is due (or will be at `now`, seconds since the epoch) and answers how many receipts the hook took;
    None where another process or thread delivers for this ledger."""
    return Carrier(account, ledger).deliver_due(time.time() if now is None else now)


def pending_receipts(ledger: str) -> int:
    """How many receipts are still to be sent of those that were taken in from the ledger."""
    path = Path(f"{ledger}.pending")
    if not path.exists():
        return 0
    with closing(sqlite3.connect(f"file:{path}?mode=ro", uri=True)) as store:
        return int(store.execute("SELECT count(*) FROM pending").fetchone()[0])


def _forget_after_fork() -> None:
    """Threads do not cross a fork, but the lock's open file does: a child that kept it would keep the lock."""
    global _starting
    _starting = threading.Lock()
    for descriptor in _locks:
        os.close(descriptor)
    _locks.clear()
    _carriers.clear()


os.register_at_fork(after_in_child=_forget_after_fork)
