"""What a project wants to know of its recipients' engagement: a part of its page."""

from __future__ import annotations

from django.contrib import admin

from tracking.models import EngagementSettings


class EngagementInline(admin.StackedInline):  # type: ignore[type-arg]
    model = EngagementSettings
    can_delete = False
    verbose_name = "engagement (everything is off until it is turned on)"
