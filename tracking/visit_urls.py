"""The addresses that messages carry. Short, because text messages are paid for by length."""

from __future__ import annotations

from django.urls import path

from tracking import visits

urlpatterns = [
    path("o/<str:token>.gif", visits.opened, name="visit-opened"),
    path("c/<str:token>", visits.clicked, name="visit-clicked"),
    path("l/<str:code>", visits.short, name="visit-short"),
    path("u/<str:token>", visits.unsubscribe, name="visit-unsubscribe"),
    path("p/<str:token>/<str:event>", visits.pushed, name="visit-pushed"),
]
