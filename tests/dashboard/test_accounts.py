"""Provider accounts in the admin: their forms, their secrets, the circuit, the test send."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path

import certifi
import pytest
from django.test import Client

from providers import registry
from providers.models import Circuit, ProviderAccount
from tests.builders import make_account, make_project
from tests.dashboard.people import staff, superuser, text
from tracking.models import Grant

pytestmark = pytest.mark.django_db
LIST = "/admin/providers/provideraccount/"
LIMITS = {"max_in_flight": "8", "weight": "100", "price_per_part": "0", "currency": "EUR", "rate_per_second": ""}
NO_GRANTS = {"grant_set-TOTAL_FORMS": "0", "grant_set-INITIAL_FORMS": "0"}
SANDBOX = {"setting_profile": "instant", "setting_seed": "3", "setting_speed": "1", "setting_batch": "20"}


@pytest.fixture
def client() -> Client:
    return superuser()


def change(account: ProviderAccount) -> str:
    return f"{LIST}{account.pk}/change/"


def page(account: ProviderAccount) -> str:
    return f"{LIST}{account.pk}/"


def filled(**kw: str) -> dict[str, str]:
    common = {"name": "", "enabled": "on", **LIMITS, **NO_GRANTS, **SANDBOX}
    return {**common, **kw}


def test_the_kinds_are_offered_first(client):
    shown = text(client.get(f"{LIST}add/"))
    for kind in registry.kinds():
        assert (f"?kind={kind}" in shown) is (kind != "channel"), kind  # that account Postroom makes by itself
    assert client.get(f"{LIST}add/?kind=nonsense").status_code == 200


@pytest.mark.parametrize("kind", registry.kinds())
def test_every_adapter_gets_a_form_of_what_it_declares(client, kind):
    shown = text(client.get(f"{LIST}add/?kind={kind}"))
    for setting in registry.adapter(kind).settings:
        assert f'name="setting_{setting.name}"' in shown


def test_an_account_is_made_with_its_secrets_sealed(client):
    project = make_project()
    grants = {"grant_set-TOTAL_FORMS": "1", "grant_set-INITIAL_FORMS": "0", "grant_set-0-project": str(project.pk)}
    form = filled(code="new-one", channel="sms", setting_hook_secret="s3cret-value", **grants)
    response = client.post(f"{LIST}add/?kind=sandbox", form)
    assert response.status_code == 302, text(response)
    account = ProviderAccount.objects.get(code="new-one")
    assert (account.kind, account.channel) == ("sandbox", "sms")
    assert account.credentials == {"hook_secret": "s3cret-value"}
    assert account.settings["seed"] == 3
    assert "hook_secret" not in account.settings
    assert Grant.objects.filter(project=project, account=account).exists()
    assert account.adapter().account.settings["profile"] == "instant"


def test_a_secret_is_never_shown_and_kept_when_left_empty(client):
    account = make_account(credentials={"hook_secret": "do-not-show-me"})
    shown = text(client.get(change(account)))
    assert "do-not-show-me" not in shown
    assert "leave empty to keep it" in shown
    assert account.hook_url in text(client.get(page(account)))
    response = client.post(change(account), filled(setting_hook_secret="", setting_seed="9"))
    assert response.status_code == 302
    account.refresh_from_db()
    assert account.credentials == {"hook_secret": "do-not-show-me"}
    assert account.settings["seed"] == 9
    client.post(change(account), filled(setting_hook_secret="another"))
    account.refresh_from_db()
    assert account.credentials == {"hook_secret": "another"}


def test_a_secret_does_not_come_back_with_an_error_at_another_field(client):
    account = make_account()
    response = client.post(change(account), filled(setting_hook_secret="typed-just-now", setting_seed="many"))
    assert response.status_code == 200
    assert "typed-just-now" not in text(response)


def test_an_optional_secret_can_be_removed(client):
    account = make_account(kind="smtp", credentials={"password": "pw", "hook_secret": "h" * 20})
    form = filled(setting_host="mail.example.com", setting_port="587", setting_security="none", setting_notify="off")
    assert "clear_password" in text(client.get(change(account)))
    response = client.post(change(account), {**form, "clear_password": "on"})
    assert response.status_code == 302, text(response)
    account.refresh_from_db()
    assert account.credentials == {"hook_secret": "h" * 20}


def test_the_adapters_own_check_speaks_at_the_field(client):
    form = filled(code="bad", channel="email", setting_hook_secret="x", setting_profile="{not json")
    response = client.post(f"{LIST}add/?kind=sandbox", form)
    assert response.status_code == 200
    assert response.context["adminform"].form.errors["setting_profile"]
    assert not ProviderAccount.objects.filter(code="bad").exists()


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("port", "0"),
        ("port", "-1"),
        ("port", "65536"),
        ("port", "9" * 30),
        ("port", "smtp"),
        ("authority", "not PEM"),
        ("authority", "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----"),
        ("authority", "-----BEGIN CERTIFICATE-----é"),
    ],
)
def test_where_an_smtp_server_cannot_be_the_field_says_so(client, field, value):
    common = {"setting_host": "mail.example.com", "setting_security": "none", "setting_notify": "off"}
    form = filled(code="bad", channel="email", **common) | {"setting_port": "587", f"setting_{field}": value}
    response = client.post(f"{LIST}add/?kind=smtp", form)
    assert response.status_code == 200
    assert list(response.context["adminform"].form.errors) == [f"setting_{field}"]
    assert not ProviderAccount.objects.exists()


def test_a_private_certificate_authority_is_taken(client):
    authority = Path(certifi.where()).read_text().partition("-----END CERTIFICATE-----")
    settings = {"setting_host": "mail.example.com", "setting_security": "tls", "setting_notify": "off"}
    form = filled(code="own-ca", channel="email", setting_port="465", **settings)
    form["setting_authority"] = authority[0][authority[0].index("-----BEGIN") :] + authority[1]
    assert client.post(f"{LIST}add/?kind=smtp", form).status_code == 302
    assert ProviderAccount.objects.get().settings["authority"].startswith("-----BEGIN CERTIFICATE-----")


def test_an_account_whose_receipts_cannot_be_verified_is_refused(client):
    response = client.post(f"{LIST}add/?kind=sandbox", filled(code="bad", channel="email", setting_hook_secret=""))
    assert response.context["adminform"].form.errors["setting_hook_secret"]
    account = make_account(credentials={})
    response = client.post(change(account), filled(setting_hook_secret=""))
    assert response.context["adminform"].form.errors["setting_hook_secret"]


def test_a_channel_that_the_provider_lacks_is_refused(client):
    form = filled(code="bad", channel="sms", setting_host="h", setting_security="none", setting_notify="off")
    response = client.post(f"{LIST}add/?kind=smtp", form)
    assert response.context["adminform"].form.errors["channel"]


def test_code_kind_and_channel_stay(client):
    account = make_account(code="fixed")
    client.post(change(account), filled(code="other", kind="smtp", channel="sms"))
    account.refresh_from_db()
    assert (account.code, account.kind, account.channel) == ("fixed", "sandbox", "email")


def test_credentials_that_cannot_be_opened_are_said_and_can_be_entered_anew(client):
    account = make_account()
    ProviderAccount.objects.filter(pk=account.pk).update(sealed_credentials="gAAAAbroken")
    assert "cannot be opened" in text(client.get(change(account)))
    response = client.post(change(account), filled(setting_hook_secret="fresh"))
    assert response.status_code == 302
    account.refresh_from_db()
    assert account.credentials == {"hook_secret": "fresh"}


def test_an_account_of_an_unknown_kind_can_still_be_looked_at(client):
    account = make_account(settings={"a": "<b>"})
    ProviderAccount.objects.filter(pk=account.pk).update(kind="gone")
    assert "cannot be loaded" in text(client.get(page(account)))
    assert "&lt;b&gt;" in text(client.get(change(account)))


def test_the_circuit_is_shown_and_reset_by_post(client):
    account = make_account()
    now = datetime.now(UTC)
    Circuit.objects.create(
        account=account, failures=5, opened_at=now, open_until=now + timedelta(minutes=5), reason="535 bad login"
    )
    assert "535 bad login" in text(client.get(page(account)))
    assert "circuit open" in text(client.get(LIST))
    url = f"{LIST}{account.pk}/reset-circuit/"
    assert client.get(url).status_code == 405
    assert Circuit.objects.get().open_until is not None
    assert "is tried again" in text(client.post(url, follow=True))
    assert Circuit.objects.get().open_until is None


# --- test send


def test_test_send_says_what_the_provider_answered(client):
    account = make_account()
    shown = text(client.post(f"{LIST}{account.pk}/test-send/", {"recipient": "ada@example.org"}, follow=True))
    assert "The provider took the message: 202 accepted." in shown
    assert "sbx-" in shown


@pytest.mark.parametrize(
    ("profile", "words"),
    [
        ('{"preset": "instant", "permanent": 1.0}', "permanent failure: 5.6.0 the content was refused"),
        ('{"preset": "instant", "temporary": 1.0}', "temporary failure: 503"),
    ],
)
def test_test_send_says_why_it_failed(client, profile, words):
    account = make_account(settings={"profile": profile})
    shown = text(client.post(f"{LIST}{account.pk}/test-send/", {"recipient": "ada@example.org"}, follow=True))
    assert "did not take the message" in shown
    assert words in shown


def test_test_send_to_a_closed_port(client):
    account = make_account(kind="smtp", settings={"host": "127.0.0.1", "port": 1, "security": "none"}, credentials={})
    form = {"recipient": "ada@example.org", "sender": "ops@example.org"}
    shown = text(client.post(f"{LIST}{account.pk}/test-send/", form, follow=True))
    assert "did not take the message. temporary failure: could not connect" in shown


def test_test_send_checks_the_recipient(client):
    account = make_account()
    shown = text(client.post(f"{LIST}{account.pk}/test-send/", {"recipient": "<script>alert(1)</script>"}, follow=True))
    assert "is not an e-mail address" in shown
    assert "<script>alert" not in shown


# --- permissions


def test_viewers_see_settings_but_no_form_no_secret_no_button():
    account = make_account(credentials={"hook_secret": "do-not-show-me"})
    client = staff("providers.view_provideraccount")
    shown = text(client.get(change(account)))
    assert "do-not-show-me" not in shown
    assert "hook_secret: set" in shown
    assert 'name="setting_' not in shown and "_save" not in shown
    shown = text(client.get(page(account)))
    assert "do-not-show-me" not in shown and account.hook_token not in shown
    assert "<form" not in shown.partition('id="content-main"')[2]
    assert client.post(change(account), filled(setting_hook_secret="x")).status_code == 403
    for name in ("test-send", "reset-circuit", "switch", "rotate", "end-rotation"):
        assert client.post(f"{LIST}{account.pk}/{name}/", {"recipient": "a@example.org"}).status_code == 403
    assert client.get(f"{LIST}add/?kind=sandbox").status_code == 403
    account.refresh_from_db()
    assert account.credentials == {"hook_secret": "do-not-show-me"}


def test_accounts_are_not_deleted(client):
    account = make_account()
    assert client.post(f"{LIST}{account.pk}/delete/", {"post": "yes"}).status_code == 403
    assert ProviderAccount.objects.filter(pk=account.pk).exists()
