"""Loading of the wording (the texts of notifications), and the check that every agency's SMS can be sent with it."""

from __future__ import annotations

from alerts.model.notification import IssuingOffice
from alerts.wording.catalogue import WordingError
from alerts.wording.lint import TextSeverity
from alerts.wording.sms import WorstCase
from alerts.wording.texts import Wording, load
from monitor.config.files.findings import Findings
from monitor.config.model.settings import Settings
from monitor.model.lazy_text import lazy_text

#: Longest incident number with which SMS are checked, so that texts stay valid for some thousand incidents.
_LONGEST_NUMBER = "9999"


def load_wording(settings: Settings | None, findings: Findings) -> Wording | None:
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


def check_sms_texts(office: IssuingOffice, prefix: str, texts: WorstCase, findings: Findings) -> None:
    """Record problems of SMS of *office* with an incident number that begins with *prefix*."""
    # Report each rule once: the same cause, such as a long name, affects every text, and would hide other problems.
    reported_rules: set[str] = set()
    for finding in texts.find_problems(office, number=f"{prefix}-{_LONGEST_NUMBER}"):
        record = findings.error if finding.problem.severity is TextSeverity.ERROR else findings.warning
        if str(finding.problem.rule) not in reported_rules:
            reported_rules.add(str(finding.problem.rule))
            instead = lazy_text("another name or short code, or another text (wording)")
            record(lazy_text("an SMS of this office would be refused or split: {finding}", finding=finding), instead)
