"""Prometheus metrics.

The rest of the service calls methods of `Metrics`. Only this package defines metric names.
"""

from monitor.metrics.definition import AGENCY_DIRECTIONS, DIRECTIONS, MONITORING_FAULTS, OTHER_REFUSAL, REFUSALS
from monitor.metrics.exposition import accepts_open_metrics
from monitor.metrics.metrics import CONTENT_TYPE, MAX_PHASE_ROUTES, NO_AGENCY, OPEN_METRICS, Metrics

__all__ = [
    "AGENCY_DIRECTIONS",
    "CONTENT_TYPE",
    "DIRECTIONS",
    "MAX_PHASE_ROUTES",
    "MONITORING_FAULTS",
    "NO_AGENCY",
    "OPEN_METRICS",
    "OTHER_REFUSAL",
    "REFUSALS",
    "Metrics",
    "accepts_open_metrics",
]
