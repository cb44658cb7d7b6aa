"""Every question and order that the schema allows is answered as the schema says, and every other is refused.

The questions are made up, by what the schema says of parameters and bodies and by what it does not.
"""

from __future__ import annotations

from typing import Any, cast

import pytest
import schemathesis
from hypothesis import HealthCheck, given, settings

from monitor.web.portal import portal
from tests.unit.monitor.web.api.test_alertmanager import Door
from tests.unit.monitor.web.source import LETTERS, TOKEN, Service

SERVICE = Service(in_the_tray=LETTERS)
PORTAL = portal(SERVICE, ["testserver"], SERVICE, receiver=Door().receiver())
SCHEMA = schemathesis.openapi.from_asgi("/openapi.json", PORTAL)
OPERATIONS = [cast(Any, found).ok() for found in SCHEMA.get_all_operations()]


#: Of a text that may be a cursor, a number or an agency, only the service knows whether it is one.
KNOWN_TO_THE_SERVICE = [schemathesis.checks.CHECKS.get_one("positive_data_acceptance")]


@pytest.mark.parametrize("operation", OPERATIONS, ids=lambda operation: str(operation.label))
def test_whatever_is_asked_is_answered_as_the_schema_says(operation: Any) -> None:
    @settings(max_examples=12, deadline=None, derandomize=True, database=None, suppress_health_check=list(HealthCheck))
    @given(case=operation.as_strategy())
    def answered(case: Any) -> None:
        case.call_and_validate(headers={"Authorization": f"Bearer {TOKEN}"}, excluded_checks=KNOWN_TO_THE_SERVICE)

    answered()
