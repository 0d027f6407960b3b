"""The sandbox: its dice, its answers, its ledger under `kill -9`, and its receipts over real HTTP on loopback."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import threading
import time
import uuid
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import orjson
import pytest
import uuid_utils
from werkzeug import Request, Response

from providers import base
from providers.base import Account, BounceClass, Channel, FailureClass, HookRequest, Outbound, ReceiptKind
from providers.sandbox import Sandbox, deliver_due, read_ledger, wire
from providers.sandbox.carrier import pending_receipts, stop_carriers
from providers.sandbox.plan import Answer, Chance, plan_answer, plan_steps
from providers.sandbox.profile import PRESETS, SCENARIO_OF_DIGITS, SCENARIOS, make_profile, profile_for, scenario_of

SECRET = "s3cret"
ROOT = Path(__file__).resolve().parents[2]
QUICK = {"preset": "stormy", "answer": [0, 0], "accept": [0, 0.05], "deliver": [0, 0.2], "engage": [0, 0.2]}


def make_account(tmp_path: Path, *, hook_url: str = "", channel: Channel = Channel.EMAIL, **settings) -> Account:
    settings = {"hook_secret": SECRET, "profile": "perfect", "speed": 1000, "batch": 20} | settings
    settings.setdefault("ledger", str(tmp_path / "ledger.jsonl"))
    return Account(code="box", kind="sandbox", channel=channel, settings=settings, hook_url=hook_url)


def make_outbound(recipient: str = "anna@example.org", *, attempt: int = 1, **values) -> Outbound:
    message = values.pop("message", None) or str(uuid_utils.uuid7())
    values = {"channel": Channel.EMAIL, "idempotency_key": f"key-{message}", "text": "hello"} | values
    return Outbound(echo=f"{message}.{attempt}", recipient=recipient, **values)


def make_request(body: bytes, *, headers: dict[str, str] | None = None, at: datetime | None = None) -> HookRequest:
    at = at or datetime.now(UTC)
    headers = wire.sign(SECRET, body, int(at.timestamp())) if headers is None else headers
    lowered = {name.lower(): value for name, value in headers.items()}
    return HookRequest(method="POST", url="http://x/hooks/t", headers=lowered, body=body, received_at=at)


class Hook:
    """Our side of the receipts: checks each request with the adapter and keeps what it says."""

    def __init__(self, account: Account) -> None:
        self.adapter = Sandbox(account)
        self.receipts: list[base.Receipt] = []
        self.requests = 0
        self.refuse_next: list[int] = []
        self._mutex = threading.Lock()

    def __call__(self, request: Request) -> Response:
        body = request.get_data()
        asked = HookRequest(
            method=request.method,
            url=request.url,
            headers={name.lower(): value for name, value in request.headers.items()},
            body=body,
            received_at=datetime.now(UTC),
        )
        with self._mutex:
            self.requests += 1
            if self.refuse_next:
                return Response(status=self.refuse_next.pop(0))
            self.adapter.verify(asked)
            self.receipts += self.adapter.parse(asked)
        return Response(status=200)

    def kinds(self, echo: str) -> list[ReceiptKind]:
        return [receipt.kind for receipt in self.receipts if receipt.echo == echo]

    def wait_for(self, condition, seconds: float = 20) -> None:
        until = time.monotonic() + seconds
        while not condition(self):
            assert time.monotonic() < until, f"after {seconds} s: {Counter(one.word for one in self.receipts)}"
            time.sleep(0.01)


@pytest.fixture
def hook(httpserver, tmp_path):
    account = make_account(tmp_path, hook_url=httpserver.url_for("/hooks/token"))
    hook = Hook(account)
    httpserver.expect_request("/hooks/token", method="POST").respond_with_handler(hook)
    yield hook
    stop_carriers()  # the server outlives the test, and so would they


class TestDice:
    def test_a_fate_is_a_function_of_seed_message_and_attempt(self):
        profile = PRESETS["stormy"]
        echoes = [f"{uuid_utils.uuid7()}.{attempt}" for _ in range(300) for attempt in (1, 2)]

        def fates(seed: int) -> list[object]:
            chances = [Chance(seed=seed, echo=echo) for echo in echoes]
            return [(plan_answer(profile, c), plan_steps(profile, c, Channel.EMAIL)) for c in chances]

        assert fates(1) == fates(1)
        assert fates(1) != fates(2)

    def test_frequencies_are_those_of_the_profile(self):
        profile = make_profile({"preset": "perfect", "temporary": 0.2, "bounce_hard": 0.3})
        chances = [Chance(seed=5, echo=f"{uuid.uuid4()}.1") for _ in range(4000)]
        answers = Counter(plan_answer(profile, chance).answer for chance in chances)
        bounced = sum(any(s.type == "bounced" for s in plan_steps(profile, c, Channel.SMS)) for c in chances)
        assert 0.17 < answers[Answer.TEMPORARY] / 4000 < 0.23
        assert 0.27 < bounced / 4000 < 0.33

    def test_one_probability_leaves_the_other_dice_alone(self):
        chances = [Chance(seed=5, echo=f"{uuid.uuid4()}.1") for _ in range(500)]

        def bounces(**more: float) -> list[bool]:
            profile = make_profile({"preset": "perfect", "bounce_hard": 0.3, **more})
            return [any(s.type == "bounced" for s in plan_steps(profile, c, Channel.EMAIL)) for c in chances]

        assert bounces() == bounces(opened=1.0, deferred=0.5, duplicate=0.5)

    def test_throttling_comes_in_bursts_and_eases_with_each_attempt(self):
        profile = make_profile({"throttle": 0.3})
        base_ms = 1_700_000_000_000

        def throttled(window: int, attempt: int) -> int:
            ids = [uuid.UUID(int=((base_ms + window * 2000 + i) << 80) | 7 << 76 | i) for i in range(100)]
            chances = [Chance(seed=3, echo=f"{one}.{attempt}") for one in ids]
            return sum(plan_answer(profile, chance).answer is Answer.THROTTLED for chance in chances)

        counts = [throttled(window, 1) for window in range(60)]
        burst = [window for window, count in enumerate(counts) if count]
        assert all(count == 0 or count > 60 for count in counts)
        assert 8 < len(burst) < 30
        assert all(throttled(window, 2) < counts[window] for window in burst)

    def test_the_attempt_that_recovers_goes_through(self):
        profile = profile_for(PRESETS["perfect"], "retry@example.org")
        answers = [plan_answer(profile, Chance(seed=0, echo=f"m.{attempt}")).answer for attempt in (1, 2, 3)]
        assert answers == [Answer.TEMPORARY, Answer.TEMPORARY, Answer.ACCEPTED]

    @pytest.mark.parametrize("preset", PRESETS)
    def test_final_receipts_contradict_each_other_only_as_late_bounces_do(self, preset):
        profile = PRESETS[preset]
        for number in range(300):
            steps = plan_steps(profile, Chance(seed=9, echo=f"m{number}.1"), Channel.EMAIL)
            assert list(steps) == sorted(steps, key=lambda step: step.due)
            words = {step.type for step in steps}
            if "bounced" in words and "delivered" in words:
                assert not words & {"opened", "clicked", "soft_bounced"}

    def test_a_late_bounce_comes_after_the_delivery(self):
        profile = profile_for(PRESETS["realistic"], "late@example.org")
        words = [step.type for step in plan_steps(profile, Chance(seed=0, echo="m.1"), Channel.EMAIL)]
        assert words == ["accepted", "delivered", "bounced"]

    def test_reordered_receipts_put_the_delivery_first(self):
        profile = profile_for(PRESETS["realistic"], "reorder@example.org")
        steps = plan_steps(profile, Chance(seed=0, echo="m.1"), Channel.EMAIL)
        assert [step.type for step in steps] == ["delivered", "accepted"]
        assert steps[0].at > steps[1].at


class TestProfiles:
    @pytest.mark.parametrize(
        "value",
        [
            "windy",
            "{",
            {"preset": "windy"},
            {"bounce": 1},
            {"lost": 2},
            {"lost": -1},
            {"lost": "often"},
            {"deliver": [5, 1]},
            {"deliver": 5},
            {"receipts": "no"},
            [],
            5,
        ],
    )
    def test_a_profile_that_cannot_be_is_refused(self, value):
        errors = Sandbox.check({"hook_secret": "x", "profile": value})
        assert list(errors) == ["profile"]

    def test_a_dict_changes_a_preset(self):
        profile = make_profile('{"preset": "calm", "lost": 0.5, "deliver": [1, 2]}')
        assert profile == replace(PRESETS["calm"], lost=0.5, deliver=(1.0, 2.0))

    def test_an_account_without_a_secret_is_refused(self):
        assert "hook_secret" in Sandbox.check({"profile": "calm"})
        assert Sandbox.check({"profile": "calm", "hook_secret": "x"}) == {}

    def test_recipients_force_outcomes(self):
        assert scenario_of("bounce@example.org") == "bounce"
        assert scenario_of("Bounce+17@example.org") == "bounce"
        assert scenario_of("bounce-9f8e") == scenario_of("bounce:9f8e") == "bounce"
        assert scenario_of("bouncer@example.org") == scenario_of("anna.bounce@example.org") == ""
        assert scenario_of("+4915112340002") == "bounce"
        assert scenario_of("9f0002") == ""

    def test_the_documented_table_is_the_real_one(self):
        text = (ROOT / "docs/sandbox.md").read_text()
        table = dict(re.findall(r"^\| `(\w+)@` \| …(\d{4}) \|", text, re.MULTILINE))
        assert {digits: name for name, digits in table.items()} == dict(SCENARIO_OF_DIGITS)


class TestAnswers:
    @pytest.mark.parametrize(
        ("recipient", "failure", "taken"),
        [
            ("invalid@example.org", FailureClass.INVALID_RECIPIENT, False),
            ("permanent@example.org", FailureClass.PERMANENT, False),
            ("retry@example.org", FailureClass.TEMPORARY, False),
            ("throttle@example.org", FailureClass.RATE_LIMIT, False),
            ("unreachable@example.org", FailureClass.TIMEOUT, None),
            ("lost@example.org", FailureClass.AMBIGUOUS, True),
        ],
    )
    def test_a_refusal(self, tmp_path, recipient, failure, taken):
        account = make_account(tmp_path)
        with pytest.raises(base.ProviderError) as refused:
            Sandbox(account).send(make_outbound(recipient))
        assert refused.value.failure is failure
        assert refused.value.classification.known
        assert refused.value.classification.suppress is (recipient == "invalid@example.org")
        assert (refused.value.retry_after is not None) is (failure is FailureClass.RATE_LIMIT)
        assert [one.taken for one in read_ledger(account.settings["ledger"])] == ([] if taken is None else [taken])

    def test_a_call_that_hangs_is_ambiguous_and_was_not_taken(self, tmp_path, monkeypatch):
        monkeypatch.setattr(Sandbox, "timeout", 0.2)
        account = make_account(tmp_path)
        started = time.monotonic()
        with pytest.raises(base.ProviderError) as refused:
            Sandbox(account).send(make_outbound("hang@example.org"))
        assert time.monotonic() - started >= 0.2
        assert refused.value.failure is FailureClass.AMBIGUOUS
        assert [(one.outcome, one.taken) for one in read_ledger(account.settings["ledger"])] == [("hung", False)]

    def test_the_ledger_says_what_the_answer_said(self, tmp_path):
        account = make_account(tmp_path)
        outbound = make_outbound()
        result = Sandbox(account).send(outbound)
        (line,) = read_ledger(account.settings["ledger"])
        assert (line.reference, line.echo, line.recipient) == (result.reference, outbound.echo, outbound.recipient)
        assert line.idempotency_key == outbound.idempotency_key
        assert line.taken and line.outcome == "accepted"
        assert abs(line.time - datetime.now(UTC)) < timedelta(seconds=10)

    def test_without_idempotency_a_second_send_is_taken_again(self, tmp_path):
        account = make_account(tmp_path)
        adapter = Sandbox(account)
        message = str(uuid_utils.uuid7())
        first = adapter.send(make_outbound(message=message))
        second = adapter.send(make_outbound(message=message, attempt=2))
        assert not adapter.takes_idempotency_key and not Sandbox.takes_idempotency_key
        assert first.reference != second.reference
        assert [one.duplicate_of_key for one in read_ledger(account.settings["ledger"])] == ["", ""]

    def test_with_idempotency_a_key_is_taken_once(self, tmp_path):
        account = make_account(tmp_path, idempotent=True, profile={"lost": 0.5})
        adapter = Sandbox(account)
        assert adapter.takes_idempotency_key and not Sandbox.takes_idempotency_key

        def send(number: int) -> None:
            for attempt in (1, 2, 3, 4):
                try:
                    adapter.send(make_outbound(message=f"m{number}", attempt=attempt))
                    break
                except base.ProviderError as error:
                    assert error.failure is FailureClass.AMBIGUOUS

        with ThreadPoolExecutor(8) as pool:
            list(pool.map(send, list(range(100)) * 2))
        lines = read_ledger(account.settings["ledger"])
        firsts = [line for line in lines if not line.duplicate_of_key]
        assert len(firsts) == len({line.idempotency_key for line in firsts}) == 100
        reference_of = {line.idempotency_key: line.reference for line in firsts}
        assert len(lines) > 200
        assert all(line.reference == reference_of[line.idempotency_key] for line in lines)

    def test_an_askable_carrier_tells_a_lost_answer_from_a_hung_call(self, tmp_path, monkeypatch):
        monkeypatch.setattr(Sandbox, "timeout", 0.01)
        adapter = Sandbox(make_account(tmp_path, askable=True))
        assert adapter.can_be_asked and not Sandbox.can_be_asked
        lost, hung, quiet = (make_outbound(f"{name}@example.org") for name in ("lost", "hang", "silent"))
        for outbound in (lost, hung):
            with pytest.raises(base.ProviderError):
                adapter.send(outbound)
        adapter.send(quiet)
        assert adapter.poll(hung, "") == []
        assert [receipt.kind for receipt in adapter.poll(quiet, "")] == [ReceiptKind.ACCEPTED]
        assert adapter.poll(lost, "")[0].echo == lost.echo

    def test_instant_leaves_no_trace_and_takes_no_time(self, tmp_path, monkeypatch):
        monkeypatch.chdir(tmp_path)
        adapter = Sandbox(make_account(tmp_path, profile="instant", ledger="", hook_url="http://127.0.0.1:9/"))
        outbounds = [make_outbound(f"user{number}@example.org") for number in range(5000)]
        started = time.perf_counter()
        references = {adapter.send(outbound).reference for outbound in outbounds}
        assert 5000 / (time.perf_counter() - started) > 1_000
        assert len(references) == 5000
        assert list(tmp_path.iterdir()) == []

    def test_parts_of_a_short_message(self, tmp_path):
        adapter = Sandbox(make_account(tmp_path, channel=Channel.SMS))
        outbound = make_outbound("+4915112345678", channel=Channel.SMS, text="x" * 161)
        assert adapter.send(outbound).parts == 2


class TestSignature:
    BODY = b'{"events":[]}'

    @pytest.fixture
    def adapter(self, tmp_path):
        return Sandbox(make_account(tmp_path))

    def test_a_genuine_request(self, adapter):
        adapter.verify(make_request(self.BODY))

    @pytest.mark.parametrize(
        "headers",
        [
            {},
            {"X-Sandbox-Timestamp": "1"},
            {"X-Sandbox-Signature": "00"},
            wire.sign("other", BODY, int(time.time())),
            wire.sign(SECRET, b"other", int(time.time())),
            wire.sign(SECRET, BODY, int(time.time())) | {"X-Sandbox-Timestamp": "1700000000"},
            wire.sign(SECRET, BODY, int(time.time())) | {"X-Sandbox-Signature": "é"},
            {"X-Sandbox-Timestamp": "soon", "X-Sandbox-Signature": wire._signature(SECRET, BODY, "soon")},
        ],
    )
    def test_a_forged_one(self, adapter, headers):
        with pytest.raises(base.VerificationFailed):
            adapter.verify(make_request(self.BODY, headers=headers))

    @pytest.mark.parametrize("minutes", [-6, 6])
    def test_one_from_another_time(self, adapter, minutes):
        request = make_request(self.BODY)
        with pytest.raises(base.VerificationFailed):
            adapter.verify(replace(request, received_at=request.received_at + timedelta(minutes=minutes)))

    def test_no_secret_verifies_nothing(self, tmp_path):
        adapter = Sandbox(make_account(tmp_path, hook_secret=""))
        signed = wire.sign("", self.BODY, int(time.time()))
        with pytest.raises(base.VerificationFailed):
            adapter.verify(make_request(self.BODY, headers=signed))


class TestParsing:
    @pytest.mark.parametrize(
        "body",
        [
            b"",
            b"nonsense",
            b"[]",
            b"{}",
            b'{"events":5}',
            b'{"events":[5]}',
            b'{"events":[{"id":"1","type":"delivered"}]}',
            b'{"events":[{"id":"1","type":"delivered","at":"yesterday"}]}',
            b'{"events":[{"id":"1","type":"delivered","at":"2026-01-01T00:00:00"}]}',
        ],
    )
    def test_what_cannot_be_read(self, tmp_path, body):
        with pytest.raises(base.ParseFailed):
            Sandbox(make_account(tmp_path)).parse(make_request(body))

    def test_every_word_has_its_meaning(self, tmp_path):
        adapter = Sandbox(make_account(tmp_path))
        read = {}
        for word in [*wire.VOCABULARY, "teleported"]:
            event = {"id": "1", "type": word, "at": "2026-01-01T00:00:00+00:00", "code": "5.1.1"}
            (read[word],) = adapter.parse(make_request(orjson.dumps({"events": [event]})))
        assert read["teleported"].kind is ReceiptKind.OTHER and not read["teleported"].known
        assert read["machine_opened"].machine and not read["opened"].machine
        assert read["bounced"].bounce is BounceClass.HARD and read["bounced"].suppress
        assert read["delivered"].bounce is None and not read["delivered"].suppress
        assert all(read[word].known for word in wire.VOCABULARY if word != "unknown")

    @pytest.mark.parametrize(
        ("name", "bounce", "failure"),
        [
            ("bounce", BounceClass.HARD, FailureClass.INVALID_RECIPIENT),
            ("soft", BounceClass.SOFT, FailureClass.TEMPORARY),
            ("block", BounceClass.BLOCK, FailureClass.BLOCKED),
            ("expired", None, FailureClass.PERMANENT),
        ],
    )
    def test_bounces_are_classified_by_their_status(self, tmp_path, name, bounce, failure):
        adapter = Sandbox(make_account(tmp_path, askable=True, profile="instant", ledger=str(tmp_path / "l")))
        account = adapter.account
        adapter = Sandbox(
            replace(account, settings={**account.settings, "profile": {"preset": "perfect"}, "speed": 1e9})
        )
        outbound = make_outbound(f"{name}@example.org")
        adapter.send(outbound)
        final = adapter.poll(outbound, "")[-1]
        assert (final.bounce, final.failure) == (bounce, failure)


class TestReceipts:
    """Over HTTP, by the carrier's thread of this process or by `deliver_due`."""

    def settings(self, hook: Hook, **changes) -> Account:
        return replace(hook.adapter.account, settings={**hook.adapter.account.settings, **changes})

    @pytest.mark.parametrize("channel", Channel)
    def test_a_message_is_accepted_and_delivered(self, hook, channel):
        account = replace(self.settings(hook, profile={"preset": "perfect", "opened": 0, "read": 0}), channel=channel)
        outbound = make_outbound("anyone", channel=channel)
        reference = Sandbox(account).send(outbound).reference
        hook.wait_for(lambda hook: ReceiptKind.DELIVERED in hook.kinds(outbound.echo))
        assert {receipt.reference for receipt in hook.receipts} == {reference}
        assert ReceiptKind.ACCEPTED in hook.kinds(outbound.echo)

    def test_receipts_that_overtake_the_answer(self, hook):
        outbound = make_outbound("early@example.org")
        account = self.settings(hook, speed=1, profile={"preset": "perfect", "answer": [0.2, 0.2]})
        Sandbox(account).send(outbound)
        assert hook.kinds(outbound.echo)[:2] == [ReceiptKind.ACCEPTED, ReceiptKind.DELIVERED]

    def test_duplicates_carry_the_same_event_id(self, hook):
        outbound = make_outbound("duplicate@example.org")
        Sandbox(hook.adapter.account).send(outbound)
        hook.wait_for(lambda hook: len(hook.kinds(outbound.echo)) >= 4)
        assert len({receipt.event_id for receipt in hook.receipts}) == 2

    def test_silence(self, hook):
        quiet, loud = make_outbound("silent@example.org"), make_outbound("open@example.org")
        adapter = Sandbox(hook.adapter.account)
        adapter.send(quiet)
        adapter.send(loud)
        hook.wait_for(lambda hook: ReceiptKind.OPENED in hook.kinds(loud.echo))
        assert hook.kinds(quiet.echo) == []

    def test_a_lost_answer_still_leads_to_receipts(self, hook):
        outbound = make_outbound("lost@example.org")
        with pytest.raises(base.ProviderError):
            Sandbox(hook.adapter.account).send(outbound)
        hook.wait_for(lambda hook: ReceiptKind.DELIVERED in hook.kinds(outbound.echo))

    def test_a_hook_that_is_away_gets_its_receipts_later(self, hook):
        hook.refuse_next = [503, 500, 429]
        outbound = make_outbound("delivered@example.org")
        Sandbox(hook.adapter.account).send(outbound)
        hook.wait_for(lambda hook: len(hook.kinds(outbound.echo)) == 2)
        assert hook.requests >= 4

    def test_a_hook_that_keeps_refusing_is_left_alone(self, httpserver, tmp_path):
        account = make_account(tmp_path, hook_url=httpserver.url_for("/gone"))
        httpserver.expect_request("/gone").respond_with_data("", status=410)
        Sandbox(replace(account, hook_url="")).send(make_outbound("delivered@example.org"))
        ledger, later = account.settings["ledger"], time.time() + 10
        for _ in range(10):
            assert deliver_due(account, ledger, now=later) == 0
            later += 60
        assert len(httpserver.log) == 10
        assert pending_receipts(ledger) == 0

    def test_batches(self, hook):
        account = self.settings(hook, batch=50)
        adapter = Sandbox(replace(account, hook_url=""))  # nothing is delivered before we say so
        for number in range(100):
            adapter.send(make_outbound(f"delivered+{number}@example.org"))
        assert deliver_due(account, account.settings["ledger"], now=time.time() + 60) == 200
        assert hook.requests == 4
        assert deliver_due(account, account.settings["ledger"], now=time.time() + 60) == 0

    def test_a_lost_pending_file_is_made_again_from_the_ledger(self, hook):
        account = self.settings(hook)
        ledger = account.settings["ledger"]
        Sandbox(replace(account, hook_url="")).send(make_outbound("delivered@example.org"))
        assert deliver_due(account, ledger, now=time.time() + 60) == 2
        for path in Path(ledger).parent.glob("*.pending*"):
            path.unlink()
        assert deliver_due(account, ledger, now=time.time() + 60) == 2
        assert len({receipt.event_id for receipt in hook.receipts}) == 2

    def test_two_hundred_messages_a_second(self, hook):
        account = self.settings(hook, profile=QUICK, speed=1, seed=4)
        adapter = Sandbox(account)
        outbounds = [make_outbound(f"user{number}@example.org") for number in range(1000)]

        def send(outbound: Outbound) -> None:
            try:
                adapter.send(outbound)
            except base.ProviderError as error:
                assert error.classification.known

        started = time.monotonic()
        with ThreadPoolExecutor(8) as pool:
            list(pool.map(send, outbounds))
        expected = expected_events(account)
        hook.wait_for(lambda hook: {receipt.event_id for receipt in hook.receipts} == expected)
        assert 1000 / (time.monotonic() - started) > 20
        assert len(read_ledger(account.settings["ledger"])) > 950


def expected_events(account: Account) -> set[str]:
    """The ids of all receipts that the ledger's hand-overs must lead to, worked out anew from seed and echo."""
    profile, seed = make_profile(account.settings["profile"]), account.settings.get("seed", 0)
    return {
        f"{line.reference}-{number}"
        for line in read_ledger(account.settings["ledger"])
        if line.taken and not line.duplicate_of_key
        for number, _ in enumerate(
            plan_steps(profile_for(profile, line.recipient), Chance(seed=seed, echo=line.echo), account.channel)
        )
    }


SENDER = """
import sys, threading, orjson
from providers.base import Account, Channel, Outbound, ProviderError
from providers.sandbox import Sandbox
account = Account(**{**orjson.loads(sys.argv[1]), "channel": Channel.EMAIL})
adapter, first, last = Sandbox(account), int(sys.argv[2]), int(sys.argv[3])
def send(offset):
    for number in range(first + offset, last, 4):
        outbound = Outbound(echo=f"m{number}.1", idempotency_key=f"k{number}", channel=Channel.EMAIL,
                            recipient=f"user{number}@example.org")
        try:
            answer = "accepted " + adapter.send(outbound).reference
        except ProviderError as error:
            answer = error.failure.value
        sys.stdout.write(f"m{number}.1 {answer}\\n"); sys.stdout.flush()
threads = [threading.Thread(target=send, args=(offset,)) for offset in range(4)]
[thread.start() for thread in threads]; [thread.join() for thread in threads]
"""


@pytest.mark.processes
class TestKilled:
    """Senders die by `kill -9`; the ledger must have every message that was answered, and no receipt may be lost."""

    def start(self, account: Account, first: int, last: int, output: Path) -> subprocess.Popen[bytes]:
        plain = {"code": account.code, "kind": "sandbox", "hook_url": account.hook_url, "settings": account.settings}
        arguments = [sys.executable, "-c", SENDER, orjson.dumps(plain).decode(), str(first), str(last)]
        with output.open("w") as file:
            return subprocess.Popen(arguments, cwd=ROOT, stdout=file)

    def test_nothing_that_was_answered_is_lost(self, hook, tmp_path):
        account = replace(
            hook.adapter.account,
            settings={
                **hook.adapter.account.settings,
                "profile": {**QUICK, "answer": [0.02, 0.08]},
                "speed": 1.0,
                "seed": 11,
            },
        )
        outputs = [tmp_path / f"out{number}" for number in range(4)]
        senders = [self.start(account, n * 100_000, (n + 1) * 100_000, out) for n, out in enumerate(outputs)]
        ledger = Path(account.settings["ledger"])
        for number, sender in enumerate(senders):  # whoever holds the lock dies, another one takes over
            hook.wait_for(lambda hook, wanted=300 * (number + 1): len(hook.receipts) > wanted)
            os.kill(sender.pid, signal.SIGKILL)
            assert sender.wait() == -signal.SIGKILL
        lines = {line.echo: line for line in read_ledger(ledger)}
        assert len(lines) == len(read_ledger(ledger)), "an echo was taken twice"
        answered = [line.split() for out in outputs for line in out.read_text().splitlines() if line.count(" ")]
        assert len(answered) > 300
        for echo, answer, *reference in answered:
            if answer == "accepted" and reference:
                assert lines[echo].taken and lines[echo].reference == reference[0]
            elif answer in ("temporary_failure", "rate_limit", "permanent", "invalid_recipient"):
                assert not lines[echo].taken
        # The carrier lives on in whichever process comes next: here, in the test's own.
        deliver_due(account, str(ledger), now=time.time() + 600)
        assert {receipt.event_id for receipt in hook.receipts} ^ expected_events(account) == set()

    def test_no_two_processes_take_the_same_key(self, tmp_path):
        account = make_account(tmp_path, idempotent=True, profile="instant")
        outputs = [tmp_path / f"out{number}" for number in range(3)]
        senders = [self.start(account, 0, 2000, output) for output in outputs]
        assert [sender.wait(timeout=60) for sender in senders] == [0, 0, 0]
        lines = read_ledger(account.settings["ledger"])
        firsts = {line.idempotency_key: line.reference for line in lines if not line.duplicate_of_key}
        assert len(lines) == 6000
        assert len(firsts) == sum(not line.duplicate_of_key for line in lines) == 2000
        answers = {line for output in outputs for line in output.read_text().splitlines()}
        assert answers == {f"{line.echo} accepted {firsts[line.idempotency_key]}" for line in lines}

    def test_half_a_line_spoils_no_other(self, tmp_path):
        account = make_account(tmp_path)
        adapter, path = Sandbox(account), Path(account.settings["ledger"])
        adapter.send(make_outbound(message="a"))
        whole = path.read_bytes()
        path.write_bytes(whole + whole[:120])
        adapter.send(make_outbound(message="b"))
        assert [line.message for line in read_ledger(path)] == ["a", "b"]

    def test_a_forked_child_keeps_no_lock(self, hook):
        adapter = Sandbox(hook.adapter.account)
        adapter.send(make_outbound("delivered@example.org"))
        hook.wait_for(lambda hook: len(hook.receipts) == 2)
        reader, writer = os.pipe()
        child = os.fork()
        if not child:  # lives, idle, until the parent lets go of the pipe
            os.close(writer)
            os.read(reader, 1)
            os._exit(0)
        try:
            stop_carriers()
            assert deliver_due(adapter.account, adapter.ledger) is not None, "the lock is still held"
        finally:
            os.close(writer)
            os.close(reader)
            assert os.waitpid(child, 0)[1] == 0

    def test_a_forked_child_delivers_by_itself(self, hook):
        adapter = Sandbox(hook.adapter.account)
        adapter.send(make_outbound("delivered@example.org"))
        hook.wait_for(lambda hook: len(hook.receipts) == 2)
        stop_carriers()
        child = os.fork()
        if not child:
            try:
                adapter.send(make_outbound("delivered@example.org", message="of-the-child"))
                time.sleep(30)
            finally:
                os._exit(0)
        try:
            hook.wait_for(lambda hook: len(hook.kinds("of-the-child.1")) == 2)
        finally:
            os.kill(child, signal.SIGKILL)
            os.waitpid(child, 0)


def test_the_table_of_scenarios_covers_every_fault():
    """A fault that no recipient can force could not be tried by hand."""
    forced = {name for changes in SCENARIOS.values() for name in changes}
    faults = {name for name in PRESETS["perfect"].__dataclass_fields__ if name not in ("receipts", "retry_after")}
    assert faults - forced == {"accept", "engage"}
