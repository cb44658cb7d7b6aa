"""Explanations of runs for operators: meaning, remedy, and who can apply it.

The texts are in `en.yaml` and `ms.yaml`.
"""

from __future__ import annotations

from datetime import timedelta

from alerts.model.notification import Language
from monitor.advice.case import Case
from monitor.advice.texts import Advice, advice, say
from monitor.advice.usual import ENDED_OTHERWISE, Ending, text_of
from monitor.evaluation.evidence import was_taken_well
from monitor.model.route import MonitoredRoute
from probes.model.mailbox import Mailbox
from probes.model.probe import Route
from probes.model.result import Outcome, Phase, ProbeResult

__all__ = ["Advice", "advise", "ended", "words"]


def advise(watched: MonitoredRoute, result: ProbeResult, language: Language = Language.ENGLISH) -> Advice:
    """Return the explanation of *result* of a run on the route. Commands print it in English."""
    route = watched.route
    if result.failure is None:
        told = _of_run(route, language) | _of_arrival(watched, result)
        return advice(f"arrived.{_ending(watched, result)}", told, language)
    case = Case(route=route, result=result, failure=result.failure)
    return advice(text_of(case), words(case, language), language)


def ended(result: ProbeResult) -> str:
    """Return the outcome of a run in a few words."""
    reason = result.failure.reason if result.failure is not None else ""
    return say(f"ended.{reason if reason in ENDED_OTHERWISE else result.outcome}", {}, Language.ENGLISH)


def _ending(watched: MonitoredRoute, result: ProbeResult) -> Ending:
    route = watched.route
    if result.outcome is Outcome.JUNK:
        forwarded = route.address.lower() != route.recipient.address.lower()
        return Ending.FORWARDED_TO_JUNK if forwarded else Ending.JUNK
    if result.uncertain:
        return Ending.UNANSWERED
    if not was_taken_well(watched, result):
        return Ending.ANSWERED_LATE
    return Ending.SLOW if _span(result, Phase.TRANSIT) > watched.probing.slow_threshold else Ending.WELL


def _span(result: ProbeResult, phase: Phase) -> timedelta:
    return result.phases.get(phase, timedelta())


def _of_run(route: Route, language: Language) -> dict[str, str]:
    agency, _, rest = route.name.partition("/")
    return {
        "agency": agency,
        # A reader of a page has entered no command.
        "again": f"pantau probe {agency} {rest} --verbose",
        "sender": route.sender.address,
        "to": route.address,
        "arrives": route.recipient.address,
        "sending": say("words.owner", _whose(route.sender), language),
    }


def _of_arrival(watched: MonitoredRoute, result: ProbeResult) -> dict[str, str]:
    took = _span(result, Phase.DATA).total_seconds()
    return {
        "transit": f"{_span(result, Phase.TRANSIT).total_seconds():.0f}",
        "slow_threshold": f"{watched.probing.slow_threshold.total_seconds():.0f}",
        "took": f"{took:.0f}",
        "took_exactly": f"{took:.1f}",
        "slow_data": f"{watched.probing.patience.slow_data.total_seconds():.0f}",
    }


def words(case: Case, language: Language = Language.ENGLISH) -> dict[str, str]:
    """Return the placeholders of a text about a failure."""
    whose = _whose(case.mailbox)
    return {
        **_of_run(case.route, language),
        **case.words,
        "owner": say("words.owner", whose, language),
        "file": say("words.file", whose, language),
        "phase": say(f"words.phase.{case.failure.phase}", {}, language),
    }


def _whose(mailbox: Mailbox) -> dict[str, str]:
    """Return the mailbox's agency, or the name of our reference mailbox; the other is empty."""
    agency, _, key = mailbox.name.rpartition("/")
    return {"agency": agency, "reference": "" if agency else key}
