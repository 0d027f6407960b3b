"""What recipients allow, and what a project wants to know of their engagement."""

from __future__ import annotations

from typing import Any

from django.contrib import admin
from django.db.models import QuerySet
from django.http import HttpRequest
from django.utils.html import format_html
from django.utils.safestring import SafeString

from dashboard import filters
from dashboard.admin.readonly import ReadOnlyAdmin
from dashboard.templatetags.postroom import moment, tag
from providers.models import CHANNELS
from tracking.models import Consent, EngagementSettings, Project
from tracking.models.consent import STATES
from tracking.search import recipients
from tracking.services.suppress import address_hash

TONES = {"granted": ("delivered", "✓"), "withdrawn": ("bounced", "⊘"), "removed": ("cancelled", "–")}
WHO = {"api": "an application", "engagement": "the recipient, by an unsubscribe link"}
CHANGES = 100  # of a consent's history, on its page


class EngagementInline(admin.StackedInline):  # type: ignore[type-arg]
    model = EngagementSettings
    can_delete = False
    verbose_name = "engagement (everything is off until it is turned on)"


class StateFilter(filters.Equals):
    title, parameter_name = "state", "state"

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[str, str]]:
        return STATES


@admin.register(Consent)
class ConsentAdmin(ReadOnlyAdmin):
    list_display = ("shown_address", "channel", "purpose_text", "shown_state", "project_code", "changed")
    list_filter = (filters.ProjectScanFilter, filters.ChannelFilter, StateFilter)
    search_fields = ("address_hash",)
    search_help_text = "An address, in full: the list is searched by its hash."
    empty_text = "No consents. Applications set them over the API, and recipients withdraw them by unsubscribing."

    def has_change_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return False  # applications and recipients say what is allowed

    def get_search_results(
        self, request: HttpRequest, queryset: QuerySet[Any], search_term: str
    ) -> tuple[QuerySet[Any], bool]:
        wanted = search_term.strip()
        if not wanted:
            return queryset, False
        channels = [channel for channel, _ in CHANNELS]
        hashes = [address_hash(channel, form) for channel in channels for form in recipients(wanted)]
        # the index begins with project and channel: all of them are named, so that it serves
        projects = list(Project.objects.values_list("pk", flat=True))
        return queryset.filter(project_id__in=projects, channel__in=channels, address_hash__in=hashes), False

    def prepare(self, request: HttpRequest, rows: list[Any]) -> None:
        known = filters.codes(request)["project"]
        for row in rows:
            row.code = known.get(row.project_id, "")

    @admin.display(description="address")
    def shown_address(self, consent: Consent) -> SafeString:
        text = consent.address or "(erased)"
        return format_html('<bdi class="clip" title="{}">{}</bdi>', text, text)

    @admin.display(description="purpose")
    def purpose_text(self, consent: Consent) -> SafeString:
        return format_html('<bdi class="clip" title="{}">{}</bdi>', consent.purpose, consent.purpose)

    @admin.display(description="state")
    def shown_state(self, consent: Consent) -> SafeString:
        return shown(consent.state)

    @admin.display(description="project")
    def project_code(self, consent: Consent) -> str:
        code: str = consent.code  # type: ignore[attr-defined]
        return code

    @admin.display(description="since")
    def changed(self, consent: Consent) -> SafeString | str:
        return moment(consent.changed_at)

    def page(self, request: HttpRequest, found: Consent) -> dict[str, Any]:
        changes = list(found.changes.order_by("-pk")[:CHANGES])
        return {
            "title": str(found),
            "project": Project.objects.filter(pk=found.project_id).first(),
            "state": shown(found.state),
            "changes": [
                {
                    "state": shown(change.state),
                    "at": change.at,
                    "who": WHO.get(change.source, change.source),
                    "key": change.who,
                    "message_id": change.message_id,
                }
                for change in changes
            ],
        }


def shown(state: str) -> SafeString:
    tone, sign = TONES.get(state, ("cancelled", "–"))
    return tag(tone, state, sign)
