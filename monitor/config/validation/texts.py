"""Loading of the *wording* (the texts of notifications), and the check that no SMS would be rejected or split."""

from __future__ import annotations

from alerts.model.notification import IssuingOffice
from alerts.wording.catalogue import WordingError
from alerts.wording.lint import TextSeverity
from alerts.wording.sms import WorstCase
from alerts.wording.texts import Wording, load
from monitor.config.files.findings import Findings
from monitor.config.model.settings import Settings
from monitor.model.translatable import translatable

#: Incident number in the checked SMS, without its prefix. Four digits suffice for some thousand incidents.
_LONGEST_NUMBER = "9999"


def load_wording(settings: Settings | None, findings: Findings) -> Wording | None:
    """Return the wording. If the texts of this installation are invalid, record that and return `None`."""
    if findings["wording"].is_broken:
        return None
    try:
        return load(settings.wording if settings is not None else None)
    except WordingError as error:
        for problem in error.problems:
            # "file: key: is missing; write it".
            message, _, remedy = problem.partition("; ")
            findings["wording"].error(message, remedy.removeprefix("write ") or "the text as our own file has it")
        return None


def check_sms_texts(office: IssuingOffice, prefix: str, texts: WorstCase, findings: Findings) -> None:
    """Record problems of the SMS of *office*, whose incident numbers begin with *prefix*.

    *texts*: the longest SMS that the wording can produce.
    """
    # Report each rule once. The same cause, such as a long name, affects all texts and would hide other problems.
    reported_rules: set[str] = set()
    for finding in texts.find_problems(office, number=f"{prefix}-{_LONGEST_NUMBER}"):
        record = findings.error if finding.problem.severity is TextSeverity.ERROR else findings.warning
        if str(finding.problem.rule) not in reported_rules:
            reported_rules.add(str(finding.problem.rule))
            instead = translatable("another name or short code, or another text (wording)")
            record(
                translatable("an SMS of this office would be rejected or split: {finding}", finding=finding), instead
            )
