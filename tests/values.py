"""Generator of docs/reference/values.md, the values in the API, metrics, commands and pages.

`make texts` writes the page and a test compares it. The meaning of a value is the comment above it in the code.
"""

from __future__ import annotations

import ast
import inspect
from collections.abc import Mapping
from enum import StrEnum
from pathlib import Path

from alerts.decide.auditor import EscalationFailure, MissedAction
from alerts.decide.drill import DrillState
from alerts.decide.gateway.latency import Milestone
from alerts.decide.gateway.rate_limit import RateLimitScope
from alerts.decide.paper import LetterStep
from alerts.model.alert import AlertEffect
from alerts.model.channel import Channel
from alerts.model.contradiction import Contradiction
from alerts.model.delivery import AttemptState, NotificationState
from alerts.model.gateway import ErrorClass
from alerts.model.incident import IncidentState
from alerts.model.notification import Cause, IncidentType, Plan, Purpose
from alerts.model.urgency import Urgency
from monitor.access.role import Permission, Role
from monitor.config.model.settings import ServiceMode
from monitor.evaluation.attribution import FaultDomain, RunVerdict
from monitor.evaluation.joint.replication import ReplicationState
from monitor.evaluation.liveness import LivenessFailure
from monitor.evaluation.out_of_band import OutOfBandReason
from monitor.evaluation.sign_in import SignInFault
from monitor.model.day import MinuteState
from monitor.model.health import Health
from monitor.model.route import Direction
from monitor.views.agency_status import AgencyStatus
from monitor.views.self_health import Component, ProblemCode
from monitor.views.site_report import SiteVerdict
from probes.model.check import Verdict
from probes.model.result import Arrival, Outcome, Phase

DOCUMENT = Path(__file__).parents[1] / "docs" / "reference" / "values.md"

#: Enumerations by section, in the order of the page.
SECTIONS: Mapping[str, tuple[type[StrEnum], ...]] = {
    "Probes": (Direction, Outcome, Phase, Arrival, Verdict),
    "Evaluation": (
        RunVerdict,
        FaultDomain,
        SignInFault,
        Health,
        AgencyStatus,
        MinuteState,
        SiteVerdict,
        ReplicationState,
    ),
    "Incidents": (IncidentState, IncidentType, Cause, AlertEffect, Contradiction),
    "Notifications": (
        Plan,
        Purpose,
        Urgency,
        Channel,
        NotificationState,
        AttemptState,
        Milestone,
        ErrorClass,
        RateLimitScope,
        LetterStep,
        DrillState,
    ),
    "Self-monitoring": (
        ServiceMode,
        Component,
        ProblemCode,
        LivenessFailure,
        MissedAction,
        EscalationFailure,
        OutOfBandReason,
    ),
    "Access": (Role, Permission),
}

_HEAD = """# Values

For whoever reads a value in the API, a metric or a command. Made from the code by `make texts`.
"""


def meanings(enumeration: type[StrEnum]) -> dict[str, str]:
    """Return the comment above each member, by value; "" if there is none."""
    lines = inspect.getsource(enumeration).splitlines()
    (defined,) = ast.parse("\n".join(lines)).body
    assert isinstance(defined, ast.ClassDef)
    found: dict[str, str] = {}
    for statement in defined.body:
        if isinstance(statement, ast.Assign):
            first = statement.lineno - 1
            while lines[first - 1].lstrip().startswith("#: "):
                first -= 1
            (target,) = statement.targets
            comment = (line.strip().removeprefix("#: ") for line in lines[first : statement.lineno - 1])
            found[str(enumeration[ast.unparse(target)])] = " ".join(comment)
    return found


def document() -> str:
    """Return the page."""
    parts = [_HEAD]
    for title, enumerations in SECTIONS.items():
        parts.append(f"\n## {title}\n")
        for enumeration in enumerations:
            summary = (inspect.getdoc(enumeration) or "").partition("\n\n")[0].replace("\n", " ")
            rows = (f"| `{value}` | {meaning} |\n" for value, meaning in meanings(enumeration).items())
            parts.append(
                f"\n### {enumeration.__name__}\n\n{summary}\n\n| value | meaning |\n| --- | --- |\n{''.join(rows)}"
            )
    return "".join(parts)


if __name__ == "__main__":
    DOCUMENT.parent.mkdir(exist_ok=True)
    DOCUMENT.write_text(document(), encoding="utf-8")
