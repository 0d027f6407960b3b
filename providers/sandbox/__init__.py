"""The sandbox: a provider's adapter with a simulated carrier behind it. The registry names `Sandbox`; tests read the
carrier's ledger and drain its receipts."""

from __future__ import annotations

from providers.sandbox.adapter import Sandbox
from providers.sandbox.carrier import deliver_due, pending_receipts, start_carrier, stop_carriers
from providers.sandbox.ledger import Handover, read_ledger

__all__ = [
    "Handover",
    "Sandbox",
    "deliver_due",
    "pending_receipts",
    "read_ledger",
    "start_carrier",
    "stop_carriers",
]
