from __future__ import annotations

import pytest

from providers.base import Channel, Provider
from providers.registry import UnknownKind, adapter, kinds


@pytest.mark.parametrize("kind", kinds())
def test_every_kind_has_an_adapter_that_says_so(kind):
    found = adapter(kind)
    assert issubclass(found, Provider)
    assert found.kind == kind
    assert found.channels and found.channels <= set(Channel)


@pytest.mark.parametrize("kind", [kind for kind in kinds() if kind != "smtp"])
def test_an_account_whose_receipts_nobody_can_verify_is_refused(kind):
    """SMTP is left out: without a hook secret its hook is closed, and bounce mail comes by a pipe."""
    assert adapter(kind).check({})


def test_an_unknown_kind():
    with pytest.raises(UnknownKind):
        adapter("pigeon")
