"""Addresses of Pushwoosh's API, below /json/1.3/."""

from __future__ import annotations

from django.urls import path

from tracking.api.compat import pushwoosh

urlpatterns = [
    path("createMessage", pushwoosh.CreateMessage.as_view(), name="pushwoosh-create-message"),
    path("getTrackingLog", pushwoosh.GetTrackingLog.as_view(), name="pushwoosh-get-tracking-log"),
    path("getResults", pushwoosh.GetResults.as_view(), name="pushwoosh-get-results"),
    path("registerDevice", pushwoosh.RegisterDevice.as_view(), name="pushwoosh-register-device"),
    path("unregisterDevice", pushwoosh.UnregisterDevice.as_view(), name="pushwoosh-unregister-device"),
    path("files/<str:token>.zip", pushwoosh.file, name="pushwoosh-file"),
    path("<path:rest>", pushwoosh.Nowhere.as_view()),
]
