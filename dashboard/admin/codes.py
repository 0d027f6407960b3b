"""Vendor codes: the inbox of what no adapter knows, what operators said it means, and the runs over history."""

from __future__ import annotations

from typing import Any
from urllib.parse import urlencode

from django.contrib import admin
from django.contrib import messages as notices
from django.core.exceptions import PermissionDenied
from django.db import transaction
from django.http import Http404, HttpRequest, HttpResponse
from django.shortcuts import redirect
from django.template.response import TemplateResponse
from django.urls import URLPattern, path, reverse
from django.utils.decorators import method_decorator
from django.views.decorators.http import require_safe

from dashboard import actions, telling
from dashboard.code_forms import MappingForm
from providers import mapping
from providers.models import ErrorMapping
from tracking import accounts, jobs
from tracking.models import Remap, RemapState
from tracking.services import remap

TEMPLATES = "admin/providers/errormapping/"
RUNS = 10  # shown
MAPPINGS = 500


@admin.register(ErrorMapping)
class CodeAdmin(admin.ModelAdmin):  # type: ignore[type-arg]
    """`change_errormapping` is the one permission: to say what a code means is also to take it back."""

    def has_add_permission(self, request: HttpRequest) -> bool:
        return self.has_change_permission(request)

    def has_delete_permission(self, request: HttpRequest, obj: ErrorMapping | None = None) -> bool:
        return self.has_change_permission(request, obj)

    def get_urls(self) -> list[URLPattern]:
        view = self.admin_site.admin_view
        return [
            path("run/<int:pk>/", view(self.run), name="providers_errormapping_run"),
            actions.url(self, "forget", self.forget),
            *super().get_urls(),
        ]

    def _frame(self, request: HttpRequest, **context: Any) -> dict[str, Any]:
        can_change = self.has_change_permission(request)
        return {**self.admin_site.each_context(request), "opts": self.opts, "can_change": can_change, **context}

    @method_decorator(require_safe)
    def changelist_view(self, request: HttpRequest, extra_context: dict[str, Any] | None = None) -> HttpResponse:
        if not self.has_view_or_change_permission(request):
            raise PermissionDenied
        telling.check(request)
        context = self._frame(
            request,
            title="Vendor codes",
            inbox=[(each, self._assign_url(each)) for each in remap.inbox()],
            counted=remap.COUNTED,
            mappings=ErrorMapping.objects.all()[:MAPPINGS],
            runs=Remap.objects.all()[:RUNS],
        )
        return TemplateResponse(request, f"{TEMPLATES}list.html", context)

    def _assign_url(self, found: remap.Unmapped) -> str:
        given = {"kind": found.kind, "word": found.word, "code": found.code}
        return f"{reverse('admin:providers_errormapping_add')}?{urlencode(given)}"

    def changeform_view(
        self,
        request: HttpRequest,
        object_id: str | None = None,
        form_url: str = "",
        extra_context: dict[str, Any] | None = None,
    ) -> Any:
        """Say what a code means: first a look at what that changes, then it is done."""
        found = self.get_object(request, object_id) if object_id else None
        if object_id and found is None:
            raise Http404
        if not (self.has_change_permission(request) or (found and self.has_view_permission(request, found))):
            raise PermissionDenied
        if request.method == "POST" and not self.has_change_permission(request):
            raise PermissionDenied
        form = MappingForm(request.POST or None, instance=found, initial=_given(request) if found is None else None)
        effect = None
        if request.method == "POST" and form.is_valid():
            if "apply" in request.POST:
                return self._apply(request, form, found)
            effect = _preview(form)
        context = self._frame(
            request, title=str(found) if found else "What does it mean?", form=form, effect=effect, original=found
        )
        steps = effect.statuses.most_common() if effect else ()
        context |= {"previewed": remap.PREVIEWED, "days": form["days"].value(), "steps": steps}
        return TemplateResponse(request, f"{TEMPLATES}form.html", context)

    def _apply(self, request: HttpRequest, form: MappingForm, found: ErrorMapping | None) -> HttpResponse:
        with transaction.atomic():
            stored = form.save()
            says = f"It means {stored.outcome or 'as received'}, {stored.failure}, {stored.bounce}."
            (self.log_change if found else self.log_addition)(request, stored, says)
            return self._start(request, stored.kind, form.cleaned_data["days"], f"{stored}: {says}")

    def forget(self, request: HttpRequest, found: ErrorMapping) -> HttpResponse:
        """What it changed is read again without it."""
        days = _days(request.POST.get("days", ""))
        with transaction.atomic():
            self.log_deletions(request, ErrorMapping.objects.filter(pk=found.pk))
            found.delete()
            return self._start(request, found.kind, days, f"{found}: forgotten")

    def _start(self, request: HttpRequest, kind: str, days: int, why: str) -> HttpResponse:
        run = remap.start(kind=kind, days=days, by=request.user.get_username(), why=why)
        jobs.later("tracking.tasks.remap", run.pk)
        transaction.on_commit(accounts.forget)
        notices.success(request, "What comes in is read so from now on; history is being read again.")
        return redirect("admin:providers_errormapping_run", run.pk)

    @method_decorator(require_safe)
    def run(self, request: HttpRequest, pk: int) -> HttpResponse:
        """A run's progress. The page loads itself again while it goes on."""
        if not self.has_view_or_change_permission(request):
            raise PermissionDenied
        found = Remap.objects.filter(pk=pk).first()
        if found is None:
            raise Http404
        steps = [(*step.split(" > "), count) for step, count in sorted(found.statuses.items(), key=lambda i: -i[1])]
        context = self._frame(request, title=f"History of {found.kind}", run=found, steps=steps)
        context |= {"percent": round(100 * remap.share(found)), "running": found.state == RemapState.RUNNING}
        headers = {"Refresh": "2"} if context["running"] else {}
        return TemplateResponse(request, f"{TEMPLATES}run.html", context, headers=headers)


def _given(request: HttpRequest) -> dict[str, str]:
    return {name: request.GET.get(name, "")[:100].replace("\0", "") for name in ("kind", "word", "code")}


def _preview(form: MappingForm) -> remap.Effect:
    """With the draft in place of what is stored of it."""
    draft: ErrorMapping = form.instance
    rules = mapping.in_order([draft.rule(), *remap.rules_of(draft.kind, without=draft.pk)])
    return remap.preview(kind=draft.kind, rules=rules, days=form.cleaned_data["days"])


def _days(text: str) -> int:
    return min(max(int(text), 1), 365) if text.isascii() and text.isdecimal() and len(text) < 5 else 30
