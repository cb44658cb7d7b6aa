"""The wording that a site has edited, and whether every office's SMS can be sent with it."""

from __future__ import annotations

from alerts.model.notification import IssuingOffice
from alerts.wording.catalogue import WordingError
from alerts.wording.lint import TextSeverity
from alerts.wording.sms import WorstCase
from alerts.wording.texts import Wording, load
from monitor.config.files.findings import Findings
from monitor.config.model.settings import Settings
from monitor.model.lazy_text import said

#: Room for a few thousand incidents: what the lint must still let through.
_LARGEST_NUMBER = "9999"


def read_texts(settings: Settings | None, findings: Findings) -> Wording | None:
    """Return the wording in force; note what is wrong with the site's own texts, and return `None` then."""
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
    """Note what would keep an SMS of *office* from arriving: found now, not in the night of the outage."""
    # The same cause shows in every text; a line a text would bury the others.
    seen: set[str] = set()
    for finding in texts.of(office, number=f"{prefix}-{_LARGEST_NUMBER}"):
        note = findings.error if finding.problem.severity is TextSeverity.ERROR else findings.warning
        if str(finding.problem.rule) not in seen:
            seen.add(str(finding.problem.rule))
            instead = said("another name or short code, or another text (wording)")
            note(said("an SMS of this office would be refused or split: {finding}", finding=finding), instead)
