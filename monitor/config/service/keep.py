"""The key `keep_results`: how long ends of runs are kept."""

from __future__ import annotations

from datetime import timedelta

from pydantic import model_validator

from monitor.config.files.duration import NoDuration, format_duration, parse_duration
from monitor.config.files.findings import Findings
from monitor.config.files.section import Section, Span, wrong
from monitor.store.probing.retention import Keep

#: Streaks and budgets are taken up from the latest runs after a restart.
_LEAST = timedelta(days=1)


class KeepSettings(Section):
    """By how a run ended. Incidents, notices and the journal are kept for ever."""

    delivered: Span = timedelta(days=30)
    """Runs whose message arrived as it should. There are hundreds of times more of them than of all others."""
    failed: Span = timedelta(days=365)
    """All other runs: the evidence of a dossier."""
    hourly: Span = timedelta(days=365)
    """What runs are counted in, by route and hour, so that availability and speed are known for longer."""

    @model_validator(mode="before")
    @classmethod
    def _one_span(cls, written: object) -> object:
        """Let one span stand for all runs, as it did before they were told apart."""
        if not isinstance(written, str):
            return written
        try:
            span = parse_duration(written)
        except NoDuration as error:
            raise wrong(str(error), "{delivered: 30d, failed: 365d, hourly: 365d}") from None
        return {"delivered": span, "failed": span}

    def build(self) -> Keep:
        """Return it as the store is told."""
        return Keep(delivered=self.delivered, failed=self.failed, hourly=self.hourly)


def check_keep(settings: KeepSettings, findings: Findings) -> None:
    """Note spans that make no sense together, and one span for all."""
    if findings.is_broken:
        return
    for name, span in (("delivered", settings.delivered), ("failed", settings.failed), ("hourly", settings.hourly)):
        there = findings[name] if findings[name].is_written else findings
        if span < _LEAST:
            there.error(f"{name}: {format_duration(span)} is shorter than a day", "1d or longer")
    if settings.delivered > settings.failed:
        message = "what was delivered would be kept for longer than what failed"
        findings.error(message, f"failed: {format_duration(settings.delivered)} or longer")
    if isinstance(findings.document.data.get(str(findings.path[-1])), str):
        whole = format_duration(settings.failed)
        findings.warning(
            f"keeps all runs for {whole}, also those that delivered, of which there are hundreds of times more",
            f"{{delivered: 30d, failed: {whole}, hourly: 365d}}",
        )
