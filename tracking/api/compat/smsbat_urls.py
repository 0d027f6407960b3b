"""Addresses of SMSBat's interface, below /bat."""

from __future__ import annotations

from django.urls import path

from tracking.api.compat import smsbat

urlpatterns = [
    path("message/<str:message>", smsbat.Message.as_view(), name="smsbat-message"),
    path("messagelist", smsbat.MessageList.as_view(), name="smsbat-messagelist"),
    path("<path:rest>", smsbat.Nowhere.as_view()),
]
