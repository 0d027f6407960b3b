"""The interfaces that the OpenAPI document describes: what the addresses of each share, and what each is for. Views
name theirs as `interface`; openapi makes the document's tags of all."""

from __future__ import annotations

from tracking.api import problems
from tracking.api.compat import pushwoosh_shapes, smsbat_shapes
from tracking.api.compat.socialplus import wire
from tracking.api.describe import PLAIN, Interface, Text
from tracking.api.v1.shapes import Problem

NATIVE = Interface(
    tag="",
    error=Problem,
    media_type=problems.MEDIA_TYPE,
    always=(400, 401, 403, 429, 503),
    of_paths=(404,),
    of_changes=(409,),
    of_bodies=(413, 415, 422),
)
SMSBAT = Interface(
    tag="SMSBat",
    error=smsbat_shapes.BatRefusal,
    always=(400, 401, 403, 429, 503),
    of_paths=(404,),
    of_bodies=(413, 415),
)
PUSHWOOSH = Interface(
    tag="Pushwoosh", error=pushwoosh_shapes.PushwooshRefusal, always=(400, 429, 503), of_bodies=(413,)
)
SOCIALPLUS = Interface(
    tag="social.plus",
    error=wire.SocialRefusal,
    always=(400, 401, 403, 429, 503),
    of_paths=(404,),
    of_bodies=(413, 415),
)
RECEIPTS = Interface(tag="Receipts", error=Text, media_type=PLAIN, limited=False)
ENGAGEMENT = Interface(tag="Engagement", error=None, limited=False)
DOWNLOADS = Interface(tag="Downloads", error=Text, media_type=PLAIN, limited=False)
HEALTH = Interface(tag="Health", error=None, limited=False)
DOCUMENTATION = Interface(
    tag="Documentation", error=Problem, media_type=problems.MEDIA_TYPE, of_paths=(404,), limited=False
)

# In the order of the page: the native ones first.
TAGS = {
    "notifications": "Hand messages in, look them up, act on them. See docs/api.md.",
    "batches": "What became of many that were handed in together. See docs/api.md.",
    "stream": "Changes of status as they happen. See docs/stream.md.",
    "analytics": "Numbers: see docs/metrics.md.",
    "webhooks": "Endpoints of yours that are told what happens, and what they were told. See docs/webhooks.md.",
    "exports": "Files with the messages of a period. See docs/exports.md.",
    "devices": "The register of devices that push messages go to. See docs/devices.md.",
    "consents": "What recipients allow. See docs/engagement.md.",
    "channels": "Channels, their members, messages to them and receipts. See docs/channels.md.",
    "chat-users": "Who is in channels, and how they log in. See docs/channels.md.",
    "erasures": "Erase a recipient everywhere. See docs/retention.md.",
    SMSBAT.tag: "For clients written for SMSBat: they work with host and key changed. They say who calls by a key in "
    "X-Authorization-Key, by HTTP Basic with a key as the password of the user `@`, or by HTTP Basic with a username "
    "and a password. See docs/smsbat.md.",
    PUSHWOOSH.tag: "For clients written for Pushwoosh's API 1.3, where the project is open to them. The key stands in "
    "the body, as `auth`; the result does too, as `status_code`, while HTTP says 200. See docs/pushwoosh.md.",
    SOCIALPLUS.tag: "For the SDK of social.plus: a user's channels, messages and markers. A session is opened with a "
    "key, and everything else asked with the session's token. See docs/channels.md, “Coming from social.plus”.",
    RECEIPTS.tag: "What providers call. Each proves that it is the provider in its own way: see docs/providers.md.",
    ENGAGEMENT.tag: "What messages carry; the signature in the address is what counts. See docs/engagement.md.",
    DOWNLOADS.tag: "Files by signed addresses that need no key and end. See docs/exports.md.",
    HEALTH.tag: "For whoever watches over the installation. See docs/operations.md.",
    DOCUMENTATION.tag: "This document, and the page that shows it.",
}
