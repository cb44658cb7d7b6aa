"""Whom to tell of something of ours that is broken: the NOC, and nobody outside."""

from __future__ import annotations

from alerts.brief import Brief
from monitor.judging.attribution import Blame
from monitor.judging.judge import Suspect
from monitor.settings import Settings

#: How an incident names what is affected, in Malay and English.
WORDS: dict[Blame, tuple[str, str]] = {
    Blame.NETWORK: ("rangkaian Pantau", "our own network"),
    Blame.REFERENCE: ("peti mel {name}", "mailbox {name}"),
    Blame.OURS: ("ujian e-mel", "our own probes"),
    Blame.CREDENTIALS: ("log masuk akaun ujian {name}", "sign-in of probe account {name}"),
}


def own_brief(settings: Settings, suspect: Suspect) -> Brief:
    """Return the brief for an incident about *suspect*."""
    malay, english = WORDS.get(suspect.blame, (str(suspect), str(suspect)))
    return settings.noc_brief(subject=malay.format(name=suspect.name), subject_en=english.format(name=suspect.name))
