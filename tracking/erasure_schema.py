"""What a request to erase a recipient holds. Pure; called by the API."""

from __future__ import annotations

from typing import Annotated, Any

from pydantic import Field, TypeAdapter

from tracking.fields import ChannelName, Line
from tracking.schema import Strict, checked


class NewErasure(Strict):
    channel: ChannelName
    recipient: Annotated[Line, Field(min_length=1, max_length=500)]


_NEW = TypeAdapter(NewErasure)


def new_erasure(document: Any) -> NewErasure:
    """Raises Invalid."""
    return checked(_NEW, document)
