from __future__ import annotations

import ipaddress
import socket
import time
from datetime import UTC, datetime

import pytest
from werkzeug import Request, Response

from config import pgsystem
from providers import http
from providers.addresses import AddressPolicy
from providers.base import BounceClass, FailureClass
from tests.providers.servers import certificate, read_request, tcp_server, tls_context

PUBLIC = AddressPolicy()


def call(url: str, *, timeout: float = 5, **kwargs) -> http.Response:
    return http.request("POST", url, body=b"{}", timeout=timeout, **kwargs)


def failure_of(url: str, **kwargs) -> http.HttpError:
    with pytest.raises(http.HttpError) as caught:
        call(url, **kwargs)
    return caught.value


def test_an_answer_is_returned_whatever_its_status(httpserver):
    httpserver.expect_request("/a").respond_with_json({"id": 1}, status=418, headers={"X-Thing": "y"})
    answer = call(httpserver.url_for("/a"))
    assert (answer.status, answer.ok, answer.json(), answer.headers["x-thing"]) == (418, False, {"id": 1}, "y")


def test_redirects_are_not_followed(httpserver):
    httpserver.expect_request("/a").respond_with_data("", status=302, headers={"Location": "/b"})
    assert call(httpserver.url_for("/a")).status == 302
    assert len(httpserver.log) == 1


def test_cookies_are_not_kept(httpserver):
    seen = []

    def handler(request: Request) -> Response:
        seen.append(request.headers.get("Cookie"))
        return Response("", headers={"Set-Cookie": "a=b"})

    httpserver.expect_request("/a").respond_with_handler(handler)
    for _ in range(2):
        call(httpserver.url_for("/a"))
    assert seen == [None, None]


def test_a_long_answer_is_cut_off_and_the_next_call_still_works(httpserver):
    httpserver.expect_request("/long").respond_with_data(b"x" * (http.MAX_BODY * 3))
    httpserver.expect_request("/short").respond_with_data(b"y")
    assert len(call(httpserver.url_for("/long")).body) == http.MAX_BODY
    assert call(httpserver.url_for("/short")).body == b"y"


def test_connections_are_kept_and_a_closed_one_is_replaced():
    connections = []

    def serve(connection: socket.socket) -> None:
        connections.append(connection)
        for _ in range(2):
            read_request(connection)
            connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok")

    with tcp_server(serve) as port:
        for _ in range(2):
            assert call(f"http://127.0.0.1:{port}/").body == b"ok"
        assert len(connections) == 1
        deadline = time.monotonic() + 5
        while connections[0].fileno() != -1 and time.monotonic() < deadline:
            time.sleep(0.01)  # until the server has closed it
        assert call(f"http://127.0.0.1:{port}/").body == b"ok"
        assert len(connections) == 2


def test_a_call_without_a_timeout_is_a_bug():
    with pytest.raises(ValueError, match="timeout"):
        http.session().get("http://127.0.0.1/")


class TestNothingWritten:
    def test_connection_refused(self):
        assert failure_of(f"http://127.0.0.1:{pgsystem.any_free_port()}/").failure is FailureClass.TEMPORARY

    def test_no_such_host(self):
        failure = failure_of("http://nothing.invalid/")
        assert failure.failure is FailureClass.TEMPORARY
        assert str(failure) == "could not connect: the host's name cannot be resolved"

    def test_a_handshake_that_never_ends(self):
        with tcp_server(lambda connection: connection.recv(1) and connection.recv(10**6) and time.sleep(1)) as port:
            assert failure_of(f"https://127.0.0.1:{port}/", timeout=0.3).failure is FailureClass.TIMEOUT

    def test_a_certificate_that_nobody_vouches_for(self, tmp_path):
        context = tls_context(tmp_path, *certificate())

        def serve(connection: socket.socket) -> None:
            with context.wrap_socket(connection, server_side=True) as wrapped:
                wrapped.recv(1)

        with tcp_server(serve) as port:
            failure = failure_of(f"https://localhost:{port}/")
        assert (failure.failure, failure.account_fault) == (FailureClass.TEMPORARY, True)


class TestOutcomeUnknown:
    def test_no_answer_in_time(self):
        with tcp_server(lambda connection: read_request(connection) and connection.recv(1)) as port:
            assert failure_of(f"http://127.0.0.1:{port}/", timeout=0.3).failure is FailureClass.AMBIGUOUS

    def test_closed_without_an_answer(self):
        with tcp_server(lambda connection: read_request(connection) and None) as port:
            assert failure_of(f"http://127.0.0.1:{port}/").failure is FailureClass.AMBIGUOUS

    def test_closed_in_the_middle_of_the_answer(self):
        def serve(connection: socket.socket) -> None:
            read_request(connection)
            connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 20\r\n\r\nhalf")

        with tcp_server(serve) as port:
            assert failure_of(f"http://127.0.0.1:{port}/").failure is FailureClass.AMBIGUOUS

    @pytest.mark.parametrize("prelude", [b"HTTP/1.1 200 OK\r\nX: ", b"HTTP/1.1 200 OK\r\nContent-Length: 500\r\n\r\n"])
    def test_a_drip_of_bytes_does_not_prolong_the_call(self, prelude):
        def serve(connection: socket.socket) -> None:
            read_request(connection)
            connection.sendall(prelude)
            for _ in range(100):
                connection.sendall(b"x")
                time.sleep(0.05)

        with tcp_server(serve) as port:
            start = time.monotonic()
            assert failure_of(f"http://127.0.0.1:{port}/", timeout=0.4).failure is FailureClass.AMBIGUOUS
            assert time.monotonic() - start < 2


class TestAddressPolicy:
    @pytest.mark.parametrize(
        "host",
        [
            "127.0.0.1",
            "2130706433",
            "0x7f000001",
            "0177.0.0.1",
            "127.1",
            "0.0.0.0",
            "10.0.0.1",
            "172.16.0.1",
            "192.168.1.1",
            "169.254.169.254",
            "100.64.0.1",
            "192.0.0.9",
            "192.88.99.1",
            "198.18.0.1",
            "224.0.0.1",
            "255.255.255.255",
            "localhost",
            "[::1]",
            "[::]",
            "[::ffff:127.0.0.1]",
            "[::ffff:7f00:1]",
            "[::127.0.0.1]",
            "[64:ff9b::7f00:1]",
            "[64:ff9b:1::7f00:1]",
            "[2002:7f00:1::]",
            "[2001:0:7f00:1::]",
            "[fe80::1]",
            "[fec0::1]",
            "[fc00::1]",
            "[ff02::1]",
            "[2001:db8::1]",
        ],
    )
    def test_the_inner_network_cannot_be_called(self, host):
        failure = failure_of(f"http://{host}:{pgsystem.any_free_port()}/", policy=PUBLIC)
        assert (failure.failure, failure.account_fault) == (FailureClass.PERMANENT, True)

    @pytest.mark.parametrize(
        "url",
        ["ftp://example.com/", "file:///etc/passwd", "http:///x", "http://user@example.com/", "http://a:b@1.1.1.1/"],
    )
    def test_what_no_policy_permits(self, url):
        assert failure_of(url).failure in {FailureClass.PERMANENT}

    def test_public_addresses_pass(self):
        for address in ("1.1.1.1", "2606:4700:4700::1111", "::ffff:8.8.8.8"):
            assert PUBLIC.permits(address)

    def test_a_name_is_judged_by_its_address_and_that_very_address_is_called(self, httpserver, monkeypatch):
        """A second look-up, as DNS rebinding needs, does not happen."""
        httpserver.expect_request("/").respond_with_data("inside")
        answers = iter([["127.0.0.1"], ["127.0.0.1", "10.0.0.1"]])
        asked = []

        def resolve(host, port, *args, **kwargs):
            asked.append(host)
            found = [(ip, httpserver.port) for ip in next(answers)]
            return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", address) for address in found]

        monkeypatch.setattr(socket, "getaddrinfo", resolve)
        policy = AddressPolicy(allow=(ipaddress.ip_network("127.0.0.1/32"),))
        assert call("http://rebinding.example/", policy=policy, headers={"Connection": "close"}).body == b"inside"
        assert asked == ["rebinding.example"]
        assert failure_of("http://rebinding.example/", policy=policy).failure is FailureClass.PERMANENT
        assert len(httpserver.log) == 1

    def test_allowed_networks(self, httpserver):
        httpserver.expect_request("/").respond_with_data("inside")
        policy = AddressPolicy(allow=(ipaddress.ip_network("127.0.0.0/8"),))
        assert call(f"http://127.0.0.1:{httpserver.port}/", policy=policy).body == b"inside"


class TestRetryAfter:
    NOW = datetime(2030, 1, 1, 12, 0, tzinfo=UTC)

    @pytest.mark.parametrize(
        ("value", "seconds"),
        [
            ("7", 7.0),
            ("1.5", 1.5),
            ("-3", 0.0),
            ("99999999", http.MAX_RETRY_AFTER),
            ("Tue, 01 Jan 2030 12:00:30 GMT", 30.0),
            ("Tue, 01 Jan 2030 11:00:00 GMT", 0.0),
            ("nan", None),
            ("soon", None),
            ("", None),
            (None, None),
        ],
    )
    def test_both_forms(self, value, seconds):
        assert http.retry_after(value, now=self.NOW) == seconds

    def test_a_refusal_carries_it(self):
        error = http.refusal("http", 429, {"Retry-After": "12"})
        assert (error.failure, error.retry_after, error.code) == (FailureClass.RATE_LIMIT, 12.0, "429")
        assert error.classification.bounce is BounceClass.SOFT
