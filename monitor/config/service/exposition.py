"""How much Prometheus is told: the section `metrics`."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from monitor.config.files.section import Blank, Section
from monitor.metrics import PHASES_OF


class MetricsSettings(Section):
    """What a large service may leave out of `/metrics`, or a patient Prometheus be told all the same."""

    phases_of: Annotated[int, Field(ge=0, le=100_000), Blank(PHASES_OF)] = PHASES_OF
    """Of how many routes at most it is told how long each phase took; of more, those whose last run did not go well."""
