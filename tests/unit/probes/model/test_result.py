"""Failures that older versions stored."""

from __future__ import annotations

import pytest
from pydantic import TypeAdapter

from probes.model.reply import Reason
from probes.model.result import _FORMER_REASONS, Failure


@pytest.mark.parametrize("former", _FORMER_REASONS)
def test_failure_from_older_store_has_present_reason(former: str) -> None:
    stored = {"phase": "transit", "party": "recipient", "reason": former}
    failure = TypeAdapter(Failure).validate_python(stored)
    assert failure.reason in {*Reason}
    assert failure.reason != former
