"""The channels of Postroom's own (docs/channels.md), as an account that their messages are counted under. Loaded by the
registry.

A message is handed over by standing in its channel: nothing is ever sent, and what members say comes in by the API.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar, NoReturn

from providers.base import Channel, Classification, FailureClass, Outbound, Provider, ProviderError

KIND = "channel"


class Channels(Provider):
    kind = KIND
    title = "Channels (of Postroom itself)"
    channels: ClassVar = frozenset({Channel.CHAT})
    sends_receipts: ClassVar = False

    def send(self, outbound: Outbound) -> NoReturn:
        raise ProviderError(
            "a message to a channel is handed in at /v1/channels",
            classification=Classification(failure=FailureClass.PERMANENT),
        )

    @classmethod
    def check(cls, settings: Mapping[str, Any]) -> dict[str, str]:
        return {"": "Postroom makes this account by itself, with the first channel."}
