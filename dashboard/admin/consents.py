"""What recipients allow, by purpose: found, read, and set by hand for a recipient who wrote or called."""

from __future__ import annotations

from typing import Any

from django.contrib import admin
from django.contrib import messages as notices
from django.http import HttpRequest
from django.urls import URLPattern
from django.utils.html import format_html
from django.utils.safestring import SafeString

from dashboard import actions, audit, filters
from dashboard.admin.addresses import AddressAdmin
from dashboard.consent_forms import SETTABLE, ConsentForm, WhyForm
from dashboard.templatetags.postroom import moment, tag
from tracking.models import Consent, ConsentState, Project
from tracking.models.consent import STATES
from tracking.services import consents
from tracking.services.consents import Asked, By
from tracking.services.suppress import address_hash

TONES = {"granted": ("delivered", "✓"), "withdrawn": ("bounced", "⊘"), "removed": ("cancelled", "–")}
WHO = {"api": "an application", "admin": "an operator", "engagement": "the recipient, by an unsubscribe link"}
CHANGES = 100  # of a consent's history, on its page


class StateFilter(filters.Equals):
    title, parameter_name = "state", "state"

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[str, str]]:
        return STATES


@admin.register(Consent)
class ConsentAdmin(AddressAdmin):
    list_display = ("shown_address", "channel", "purpose_text", "shown_state", "project_code", "changed")
    list_filter = (filters.ProjectScanFilter, filters.ChannelFilter, StateFilter)
    empty_text = "No consents. Applications set them over the API, and recipients withdraw them by unsubscribing."
    form = ConsentForm
    fields = ("project", "channel", "address", "purpose", "state", "reason")

    def has_add_permission(self, request: HttpRequest) -> bool:
        return bool(request.user.has_perm("tracking.add_consent"))

    @admin.display(description="purpose")
    def purpose_text(self, consent: Consent) -> SafeString:
        return format_html('<bdi class="clip" title="{}">{}</bdi>', consent.purpose, consent.purpose)

    @admin.display(description="state")
    def shown_state(self, consent: Consent) -> SafeString:
        return shown(consent.state)

    @admin.display(description="since")
    def changed(self, consent: Consent) -> SafeString | str:
        return moment(consent.changed_at)

    def page(self, request: HttpRequest, found: Consent) -> dict[str, Any]:
        changes = list(found.changes.order_by("-pk")[:CHANGES])
        return {
            "title": str(found),
            "project": Project.objects.filter(pk=found.project_id).first(),
            "state": shown(found.state),
            "others": [state.value for state in SETTABLE if state != found.state] if found.address else [],
            "withdraw_form": WhyForm(auto_id="withdraw_%s"),
            "give_form": WhyForm(auto_id="give_%s"),
            "changes": [
                {
                    "state": shown(change.state),
                    "at": change.at,
                    "who": WHO.get(change.source, change.source),
                    "change": change,
                }
                for change in changes
            ],
        }

    # --- deeds

    def get_urls(self) -> list[URLPattern]:
        return [
            actions.url(self, "withdraw", _withdraw),
            actions.url(self, "give", _give),
            *super().get_urls(),
        ]

    def save_model(self, request: HttpRequest, obj: Consent, form: ConsentForm, change: bool) -> None:
        found = _put(request, obj, ConsentState(obj.state), form.cleaned_data["reason"])
        obj.pk = found.pk

    def log_addition(self, request: HttpRequest, obj: Any, message: Any) -> Any:
        return super().log_addition(request, Consent(pk=obj.pk, purpose=f"consent {obj.pk}"), message)


def _withdraw(request: HttpRequest, found: Consent) -> None:
    _change(request, found, ConsentState.WITHDRAWN)


def _give(request: HttpRequest, found: Consent) -> None:
    _change(request, found, ConsentState.GRANTED)


def _change(request: HttpRequest, found: Consent, state: ConsentState) -> None:
    form = WhyForm(request.POST)
    if not form.is_valid():
        notices.error(request, f"Nothing was changed. Why: {' '.join(map(str, form.errors['reason']))}")
    elif not found.address:
        notices.error(request, "Nothing was changed: the address was erased.")
    elif found.state == state:
        notices.warning(request, f"Nothing was changed: it is {state} already.")
    else:
        _put(request, found, state, form.cleaned_data["reason"])
        notices.success(request, f"The consent is {state}. It counts for everything that is handed over from now on.")


def _put(request: HttpRequest, wanted: Consent, state: ConsentState, why: str) -> Consent:
    """Set it, and put it on record. The log names the consent by its number: it outlives an erasure."""
    asked = Asked(wanted.channel, wanted.address, wanted.purpose)
    by = By("admin", who=request.user.get_username(), note=why)
    consents.put(project_id=wanted.project_id, wanted=[(asked, state)], by=by)
    stored = Consent.objects.get(
        project_id=wanted.project_id,
        channel=wanted.channel,
        address_hash=address_hash(wanted.channel, wanted.address),
        purpose=wanted.purpose,
    )
    said = {"purpose": stored.purpose, "state": stored.state, "why": why}
    audit.note(stored, audit.UPDATE if wanted.pk else audit.CREATE, f"consent {stored.pk}", said)
    return stored


def shown(state: str) -> SafeString:
    tone, sign = TONES.get(state, ("cancelled", "–"))
    return tag(tone, state, sign)
