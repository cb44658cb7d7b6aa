"""What each site says of an agency is said in one word, and of what is wrong what it is and since when."""

from __future__ import annotations

from alerts.model.notification import IncidentType
from monitor.evaluation.joint.site_status import UNTROUBLED, SiteStatus
from monitor.evaluation.monitoring_faults import ActiveProblem
from monitor.views.site_report import view_sites
from tests.unit.alerts.people import T0


def test_each_site_says_one_thing_and_one_without_a_vote_nothing_that_counts() -> None:
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
