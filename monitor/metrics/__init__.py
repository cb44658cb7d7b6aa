"""What Prometheus is told.

The rest of the service tells `Metrics` what happened and knows no metric by name.
"""

from monitor.metrics.definition import AGENCY_DIRECTIONS, DIRECTIONS, OTHER_REFUSAL, OWN_FAULTS, REFUSALS
from monitor.metrics.metrics import CONTENT_TYPE, NO_AGENCY, PHASES_OF, Metrics

__all__ = [
    "AGENCY_DIRECTIONS",
    "CONTENT_TYPE",
    "DIRECTIONS",
    "NO_AGENCY",
    "OTHER_REFUSAL",
    "OWN_FAULTS",
    "PHASES_OF",
    "REFUSALS",
    "Metrics",
]
