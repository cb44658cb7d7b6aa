"""Wording edited by a site, and the check that every agency's SMS can be sent with it."""

from __future__ import annotations

from alerts.model.notification import IssuingOffice
from alerts.wording.catalogue import WordingError
from alerts.wording.lint import TextSeverity
from alerts.wording.sms import WorstCase
from alerts.wording.texts import Wording, load
from monitor.config.files.findings import Findings
from monitor.config.model.settings import Settings
from monitor.model.lazy_text import said

#: Reserve for some thousand incidents, which the check must permit.
_LARGEST_NUMBER = "9999"


def read_texts(settings: Settings | None, findings: Findings) -> Wording | None:
    """Return the wording in use. If the site's own texts are invalid, record that and return `None`."""
    if findings["wording"].is_broken:
        return None
    try:
        return load(settings.wording if settings is not None else None)
    except WordingError as error:
        for problem in error.problems:
            message, _, remedy = problem.partition("; ")
            findings["wording"].error(message, remedy.removeprefix("write ") or "the text as our own file has it")
        return None


def check_texts(office: IssuingOffice, prefix: str, texts: WorstCase, findings: Findings) -> None:
    """Record what would prevent SMS of *office*, so that it is found before an outage."""
    # The same cause appears in every text, and one line per text would hide other problems.
    seen: set[str] = set()
    for finding in texts.of(office, number=f"{prefix}-{_LARGEST_NUMBER}"):
        note = findings.error if finding.problem.severity is TextSeverity.ERROR else findings.warning
        if str(finding.problem.rule) not in seen:
            seen.add(str(finding.problem.rule))
            instead = said("another name or short code, or another text (wording)")
            note(said("an SMS of this office would be refused or split: {finding}", finding=finding), instead)
