"""A real nginx with the server block that docs/operations.md gives, and clients of its address."""

from __future__ import annotations

import os
import re
import shutil
import ssl
from pathlib import Path
from typing import Any

import pytest
import requests
from requests.adapters import HTTPAdapter

from config import pgsystem
from tests.providers.servers import certificate
from tests.tracking.streaming import Process, Servers, until

ROOT = Path(__file__).resolve().parents[2]
SBIN = "/usr/sbin"  # where Debian puts it: not in everybody's PATH
# What a distribution's own nginx.conf says around the block; one process, so that nobody else must reach our directory.
FRAME = """
daemon off; master_process off; pid nginx.pid;
events {{ worker_connections 256; }}
http {{
    client_body_temp_path body; proxy_temp_path proxy; fastcgi_temp_path fastcgi; uwsgi_temp_path uwsgi;
    scgi_temp_path scgi;
    {block}
}}
"""


def documented() -> str:
    """The block as it stands in the document."""
    (block,) = re.findall(r"^```nginx\n(.*?)^```$", (ROOT / "docs/operations.md").read_text(), re.M | re.S)
    return str(block)


def program() -> str:
    found = shutil.which("nginx", path=f"{os.environ['PATH']}:{SBIN}")
    if found is None:
        (pytest.fail if os.environ.get("CI") else pytest.skip)("there is no nginx here")
    return found


class Proxied:
    """Web and stream process behind nginx, with the settings that the document wants."""

    def __init__(self, home: Path) -> None:
        self._nginx = program()
        self.port = pgsystem.any_free_port()
        self.url = f"https://127.0.0.1:{self.port}"
        self.certificate = home / "cert.pem"
        public, private = certificate()
        self.certificate.write_text(public)
        (home / "key.pem").write_text(private)
        self.servers = Servers(home, PUBLIC_URL=self.url, STREAM_URL=self.url, PROXY_COUNT="1")
        try:
            self._start(home)
        except BaseException:
            self.servers.close()
            raise

    def _start(self, home: Path) -> None:
        (home / "nginx.conf").write_text(FRAME.format(block=self._filled(home)))
        command = [self._nginx, "-e", "stderr", "-p", f"{home}/", "-c", "nginx.conf"]
        self.nginx = Process(command, {}, home / "nginx.log")
        until(lambda: not pgsystem.port_free(self.port), 20)

    def _filled(self, home: Path) -> str:
        """The block with this machine's ports and paths; each of them must be there."""
        block = documented()
        for ours, theirs in (
            (f"127.0.0.1:{self.servers.port}", "127.0.0.1:8000"),
            (f"127.0.0.1:{self.servers.stream_port}", "127.0.0.1:8001"),
            (f"listen 127.0.0.1:{self.port} ssl", "listen 443 ssl"),
            (str(home / "cert.pem"), "/etc/ssl/postroom.pem"),
            (str(home / "key.pem"), "/etc/ssl/postroom.key"),
        ):
            assert theirs in block
            block = block.replace(theirs, ours)
        return block

    def context(self) -> ssl.SSLContext:
        return ssl.create_default_context(cafile=str(self.certificate))

    def client(self, key: str = "", address: str = "127.0.0.1") -> Client:
        return Client(self.certificate, key, address)

    def close(self) -> None:
        self.nginx.stop()
        self.servers.close()


class Client(requests.Session):
    """Comes from an address of its own and follows nobody elsewhere."""

    def __init__(self, certificate: Path, key: str, address: str) -> None:
        super().__init__()
        self.trust_env, self.verify = False, str(certificate)
        self.mount("https://", From(address))
        if key:
            self.headers["Authorization"] = f"Bearer {key}"

    def request(self, *args: Any, **kw: Any) -> requests.Response:
        return super().request(*args, **{"timeout": 40, **kw, "allow_redirects": False})


class From(HTTPAdapter):
    def __init__(self, address: str) -> None:
        self._address = address
        super().__init__()

    def init_poolmanager(self, *args: Any, **kw: Any) -> None:
        super().init_poolmanager(*args, **kw, source_address=(self._address, 0))
