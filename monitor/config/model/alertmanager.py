"""The section `alertmanager`: which alerts of the NOC's own monitoring people are told of, and whom."""

from __future__ import annotations

from collections.abc import Mapping

from pydantic import Field

from monitor.config.agency.escalation import EscalationSettings
from monitor.config.fields.token import Token
from monitor.config.files.findings import Findings
from monitor.config.files.section import Section, Slug


class TellSettings(Section):
    """Whom alerts with certain labels are told to."""

    match: Mapping[str, str] = Field(examples=["{team: rangkaian}"])
    """Labels, each with its whole value; an alert that has all of them matches."""
    escalation: EscalationSettings
    """May name the contacts of `noc` and those of all, and rotas of all."""


class ReceiveSettings(Section):
    """Takes in what Alertmanager's webhook brings to `/api/v1/alertmanager`."""

    token: Token
    """What Alertmanager sends as `authorization: {credentials_file: ...}`."""
    tell: Mapping[Slug, TellSettings] = {}
    """The first that matches an alert decides; an alert that none matches is told as a fault of ours: by the escalation of `noc`."""

    def told_by(self, labels: Mapping[str, str]) -> str:
        """Return the key of the entry that decides about an alert; "" if none does."""
        matching = (key for key, each in self.tell.items() if each.match.items() <= labels.items())
        return next(matching, "")


class AlertmanagerSettings(Section):
    """The NOC's Alertmanager: any alert of its own monitoring can be told by telephone, fax and letter."""

    receive: ReceiveSettings | None = None
    """Alerts that it brings are incidents here, until it says that they are over."""


def check_alertmanager(settings: AlertmanagerSettings, findings: Findings) -> None:
    """Note a section that does nothing, and entries that would decide about every alert, or about none."""
    if settings.receive is None:
        if not findings["receive"].is_broken:
            findings.error("does nothing", "receive: {token_file: PATH}, or leave it out")
        return
    before: dict[str, Mapping[str, str]] = {}
    for key, each in settings.receive.tell.items():
        there = findings["receive", "tell", key]
        if not each.match and not there["match"].is_broken:
            there["match"].error("every alert matches", "{severity: critical}; what none matches, noc.escalation tells")
        first = next((name for name, match in before.items() if match and match.items() <= each.match.items()), None)
        if first is not None:
            there.warning(
                f"decides about nothing: whatever matches, '{first}' decides about before", f"it before {first}"
            )
        before[key] = each.match
