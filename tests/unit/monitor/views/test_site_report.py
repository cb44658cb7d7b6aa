"""Status of each site about an agency, with type and start of its trouble."""

from __future__ import annotations

from alerts.model.notification import IncidentType
from monitor.evaluation.joint.site_status import UNTROUBLED, SiteStatus
from monitor.evaluation.monitoring_faults import ActiveProblem
from monitor.views.site_report import view_sites
from tests.unit.alerts.people import T0


def test_view_sites_gives_one_status_per_site() -> None:
    wrong = SiteStatus(trouble=ActiveProblem(type=IncidentType.SENDING, since=T0))
    said = {"johor": wrong, "kuching": SiteStatus(up_since=T0), "labuan": UNTROUBLED, "sabah": None}
    first, *others = view_sites(said)
    assert (first.site, first.says, first.type, first.since) == ("johor", "wrong", IncidentType.SENDING, T0)
    assert [(each.site, each.says) for each in others] == [
        ("kuching", "up"),
        ("labuan", "unclear"),
        ("sabah", "stale"),
    ]
    assert {(each.type, each.since) for each in others} == {(None, None)}
