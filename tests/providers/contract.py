"""What every adapter must do, as cases to inherit. A subclass gives the vendor's answers; the cases judge."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import settings

from config import pgsystem
from providers.base import (
    Account,
    Attachment,
    Channel,
    FailureClass,
    HookRequest,
    Outbound,
    Provider,
    ProviderError,
    Receipt,
    VerificationFailed,
)
from tests.providers.servers import read_request, tcp_server

# A busy machine is no failure: how long hostile input may take is asserted where it matters.
fuzz = settings(deadline=None)
NOW = datetime(2030, 5, 1, 12, 0, tzinfo=UTC)
ECHO = "0196d3a4-6b1e-7c3a-9d2f-1234567890ab.2"


def account(cls: type[Provider], **settings) -> Account:
    """With every declared setting, as the dispatcher hands it over."""
    filled = {setting.name: setting.default for setting in cls.settings} | settings
    return Account(code="test", kind=cls.kind, channel=next(iter(sorted(cls.channels))), settings=filled)


def outbound(**kwargs) -> Outbound:
    defaults = {
        "echo": ECHO,
        "idempotency_key": "key-1",
        "channel": Channel.EMAIL,
        "recipient": "to@example.org",
        "sender": "Sender <from@example.com>",
        "subject": "Hello",
        "text": "Good day",
    }
    return Outbound(**(defaults | kwargs))


def full_outbound(**kwargs) -> Outbound:
    """Everything that an e-mail may carry."""
    return outbound(
        recipient="Zoë <to@example.org>",
        reply_to="reply@example.com",
        cc=("cc@example.org",),
        bcc=("bcc@example.org",),
        subject="Grüße",
        text="Good day ✓",
        html='<p>Good day <img src="cid:logo"></p>',
        headers={"List-Unsubscribe": "<https://example.com/u>", "X-Kind": "test"},
        attachments=(
            Attachment("räport.pdf", "application/pdf", b"%PDF-1.7"),
            Attachment("logo.png", "image/png", b"\x89PNG", inline_id="logo"),
        ),
        tags=("spring",),
        metadata={"order": 17},
        **kwargs,
    )


def hook(body: bytes = b"", headers: dict[str, str] | None = None, **kwargs) -> HookRequest:
    return HookRequest(
        **{
            "method": "POST",
            "url": "https://postroom.example/hooks/token",
            "headers": headers or {},
            "body": body,
            "received_at": NOW,
        }
        | kwargs
    )


def failure_of(provider: Provider, message: Outbound) -> ProviderError:
    with pytest.raises(ProviderError) as caught:
        provider.send(message)
    return caught.value


def assert_storable(receipt: Receipt) -> None:
    """Whatever a vendor says, a database must be able to take it."""
    assert receipt.occurred_at is None or receipt.occurred_at.tzinfo is not None
    words = [getattr(receipt, name) for name in ("echo", "reference", "recipient", "event_id", "word", "code", "text")]
    words += [word for pair in receipt.detail.items() for word in pair]
    for word in words:
        assert isinstance(word, str) and len(word) <= 1000
        assert "\0" not in word
        word.encode()


class ProviderContract:
    """Facts that hold for the class itself."""

    provider: type[Provider]

    def test_it_declares_itself(self):
        cls = self.provider
        assert cls.kind and cls.title and cls.channels and cls.settings
        names = [setting.name for setting in cls.settings]
        assert len(names) == len(set(names))
        assert all(setting.label for setting in cls.settings)
        assert all(
            setting.secret
            for setting in cls.settings
            if any(word in setting.name for word in ("password", "secret", "token", "_key"))
        )
        assert 0 < cls.timeout <= 30

    def test_an_account_is_plain_data_and_an_adapter_is_cheap(self):
        for _ in range(100):
            self.provider(account(self.provider))


class HttpSendContract(ProviderContract):
    """For adapters that send by an HTTP API. `path` is where they post to, under the test server's address."""

    path: str
    answer: dict
    reference: str

    def make(self, url: str, **settings) -> Provider:
        raise NotImplementedError

    def message(self) -> Outbound:
        return full_outbound()

    @pytest.fixture
    def adapter(self, httpserver) -> Provider:
        return self.make(httpserver.url_for("").rstrip("/"))

    def test_accepted(self, adapter, httpserver):
        httpserver.expect_oneshot_request(self.path, method="POST").respond_with_json(self.answer)
        assert adapter.send(self.message()).reference == self.reference
        assert len(httpserver.log) == 1

    @pytest.mark.parametrize(
        ("status", "failure", "account_fault"),
        [
            (400, FailureClass.PERMANENT, False),
            (401, FailureClass.PERMANENT, True),
            (403, FailureClass.PERMANENT, True),
            (302, FailureClass.PERMANENT, True),
            (408, FailureClass.TIMEOUT, False),
            (413, FailureClass.PERMANENT, False),
            (500, FailureClass.TEMPORARY, False),
            (502, FailureClass.TEMPORARY, False),
            (503, FailureClass.TEMPORARY, False),
            (504, FailureClass.AMBIGUOUS, False),
        ],
    )
    def test_refused(self, adapter, httpserver, status, failure, account_fault):
        httpserver.expect_request(self.path).respond_with_data("<html>no</html>", status=status)
        error = failure_of(adapter, self.message())
        assert (error.failure, error.classification.account_fault) == (failure, account_fault)
        assert not error.classification.suppress
        assert len(httpserver.log) == 1

    @pytest.mark.parametrize("status", [429, 503])
    def test_told_to_wait(self, adapter, httpserver, status):
        httpserver.expect_request(self.path).respond_with_json({}, status=status, headers={"Retry-After": "17"})
        error = failure_of(adapter, self.message())
        assert error.retry_after == 17.0
        assert error.failure is (FailureClass.RATE_LIMIT if status == 429 else FailureClass.TEMPORARY)

    def test_written_but_no_answer(self):
        def serve(connection):
            read_request(connection)
            connection.recv(1)

        with tcp_server(serve) as port:
            adapter = self.make(f"http://127.0.0.1:{port}")
            adapter.timeout = 0.4
            assert failure_of(adapter, self.message()).failure is FailureClass.AMBIGUOUS

    def test_nothing_listens(self):
        error = failure_of(self.make(f"http://127.0.0.1:{pgsystem.any_free_port()}"), self.message())
        assert error.failure in {FailureClass.TEMPORARY, FailureClass.TIMEOUT}

    def test_an_accepting_answer_that_makes_no_sense_is_not_guessed_at(self, adapter, httpserver):
        httpserver.expect_request(self.path).respond_with_data("<html>welcome to the hotel</html>")
        assert failure_of(adapter, self.message()).failure is FailureClass.AMBIGUOUS


class SignedHookContract(ProviderContract):
    """For adapters whose hook proves itself by a signature."""

    def hooked(self) -> Provider:
        raise NotImplementedError

    def signed(self, *, at: datetime = NOW, secret: str = "") -> HookRequest:
        """A genuine request, signed at `at`; with another secret where one is given."""
        raise NotImplementedError

    def unsigned(self) -> HookRequest:
        raise NotImplementedError

    def tampered(self) -> HookRequest:
        """A genuine request of which a signed part was changed afterwards."""
        raise NotImplementedError

    def test_genuine(self):
        self.hooked().verify(self.signed())

    def test_unsigned(self):
        self._refuses(self.unsigned())

    def test_empty(self):
        self._refuses(hook())

    def test_wrong_secret(self):
        self._refuses(self.signed(secret="c29tZWJvZHkgZWxzZSdzIHNlY3JldCBrZXk="))

    def test_tampered(self):
        self._refuses(self.tampered())

    @pytest.mark.parametrize("days", [-1, 1])
    def test_replayed_from_another_time(self, days):
        self._refuses(self.signed(at=NOW + timedelta(days=days)))

    def test_an_account_without_its_secret_refuses_everything(self):
        naked = self.provider(account(self.provider))
        with pytest.raises(VerificationFailed):
            naked.verify(self.signed())

    def _refuses(self, request: HookRequest) -> None:
        with pytest.raises(VerificationFailed):
            self.hooked().verify(request)
