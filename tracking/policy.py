"""The retry policy: pure rules, used by submit (overrides), dispatch (what after a failure) and the project's form."""

from __future__ import annotations

import random
from dataclasses import dataclass, replace
from typing import Annotated, Any

from pydantic import AfterValidator, BaseModel, ConfigDict, Field

from providers.base import RETRYABLE, FailureClass


def _retryable(failure: FailureClass) -> FailureClass:
    if failure not in RETRYABLE:
        raise ValueError(f"must be one of {', '.join(sorted(RETRYABLE))}: others are never retried")
    return failure


Retryable = Annotated[FailureClass, Field(strict=False), AfterValidator(_retryable)]


class RetryOverrides(BaseModel):
    """What a project or a message may say about its retries. Delays in seconds."""

    model_config = ConfigDict(extra="forbid", strict=True)

    max_attempts: int | None = Field(default=None, ge=1, le=20)
    initial_delay: float | None = Field(default=None, ge=0, le=86_400)
    max_delay: float | None = Field(default=None, ge=0, le=86_400)
    backoff_factor: float | None = Field(default=None, ge=1, le=10)
    retry_conditions: list[Retryable] | None = None


@dataclass(frozen=True, slots=True)
class RetryPolicy:
    max_attempts: int = 5
    initial_delay: float = 1.0
    max_delay: float = 300.0
    backoff_factor: float = 2.0
    retry_conditions: frozenset[FailureClass] = RETRYABLE

    @classmethod
    def merged(cls, *layers: dict[str, Any] | None) -> RetryPolicy:
        """The defaults, overlaid by the project's and then the message's overrides."""
        policy = cls()
        for layer in layers:
            policy = policy.overlaid(layer or {})
        return policy

    def overlaid(self, overrides: dict[str, Any]) -> RetryPolicy:
        values = {name: value for name, value in overrides.items() if value is not None}
        if "retry_conditions" in values:
            values["retry_conditions"] = frozenset(map(FailureClass, values["retry_conditions"]))
        return replace(self, **values)

    def delay(self, tries: int, retry_after: float | None = None, jitter: random.Random | None = None) -> float:
        """Seconds to wait after try number `tries` (from 1): full jitter under an exponential ceiling. The provider's
        own Retry-After wins."""
        if retry_after is not None:
            return max(0.0, retry_after)
        exponent = min(tries - 1, 64)
        ceiling = min(self.max_delay, self.initial_delay * self.backoff_factor**exponent)
        return (jitter or random).uniform(0, ceiling)

    def retryable(self, failure: FailureClass) -> bool:
        return failure in self.retry_conditions and failure in RETRYABLE

    def wants_retry(self, failure: FailureClass, tries: int) -> bool:
        return self.retryable(failure) and tries < self.max_attempts
