"""Explanations of run results for operators: what the result means, what to do, and who must do it.

The texts are in `en.yaml` and `ms.yaml`; `known_cause` selects one for a failure.
"""

from __future__ import annotations

from datetime import timedelta

from alerts.model.notification import Language
from monitor.advice.case import Case
from monitor.advice.known_cause import REASONS_WITH_OUTCOME_TEXT, ArrivalKind, text_key
from monitor.advice.texts import Advice, build_advice, render_text
from monitor.evaluation.evidence import was_confirmed_in_time
from monitor.model.route import MonitoredRoute
from probes.model.mailbox import Mailbox
from probes.model.probe import Route
from probes.model.result import Outcome, Phase, ProbeResult

__all__ = ["Advice", "advise", "outcome_text", "placeholders"]


def advise(monitored_route: MonitoredRoute, result: ProbeResult, language: Language = Language.ENGLISH) -> Advice:
    """Return the explanation of *result*. The command line uses the default language, English."""
    route = monitored_route.route
    if result.failure is None:
        values = _run_placeholders(route, language) | _arrival_placeholders(monitored_route, result)
        return build_advice(f"arrived.{_arrival_kind(monitored_route, result)}", values, language)
    case = Case(route=route, result=result, failure=result.failure)
    return build_advice(text_key(case), placeholders(case, language), language)


def outcome_text(result: ProbeResult) -> str:
    """Return the outcome of a run in a few words of English."""
    reason = result.failure.reason if result.failure is not None else ""
    key = reason if reason in REASONS_WITH_OUTCOME_TEXT else result.outcome
    return render_text(f"ended.{key}", {}, Language.ENGLISH)


def _arrival_kind(monitored_route: MonitoredRoute, result: ProbeResult) -> ArrivalKind:
    route = monitored_route.route
    if result.outcome is Outcome.JUNK:
        forwarded = route.address.lower() != route.recipient.address.lower()
        return ArrivalKind.FORWARDED_TO_JUNK if forwarded else ArrivalKind.JUNK
    # The submission ended without a response, although the message arrived.
    if result.uncertain:
        return ArrivalKind.UNCONFIRMED
    if not was_confirmed_in_time(monitored_route, result):
        return ArrivalKind.CONFIRMED_LATE
    is_slow = _phase_duration(result, Phase.TRANSIT) > monitored_route.probing.slow_threshold
    return ArrivalKind.SLOW if is_slow else ArrivalKind.NORMAL


def _phase_duration(result: ProbeResult, phase: Phase) -> timedelta:
    return result.phases.get(phase, timedelta())


def _run_placeholders(route: Route, language: Language) -> dict[str, str]:
    agency, _, route_key = route.name.partition("/")
    return {
        "agency": agency,
        # The whole command that repeats the run, because pages show this text without a command before it.
        "again": f"pantau probe {agency} {route_key} --verbose",
        "sender": route.sender.address,
        "to": route.address,
        "arrives": route.recipient.address,
        # Owner of the sender's mail system.
        "sending": render_text("words.owner", _owner_placeholders(route.sender), language),
    }


def _arrival_placeholders(monitored_route: MonitoredRoute, result: ProbeResult) -> dict[str, str]:
    took = _phase_duration(result, Phase.DATA).total_seconds()
    return {
        "transit": f"{_phase_duration(result, Phase.TRANSIT).total_seconds():.0f}",
        "slow_threshold": f"{monitored_route.probing.slow_threshold.total_seconds():.0f}",
        "took": f"{took:.0f}",
        "took_exactly": f"{took:.1f}",
        "slow_data": f"{monitored_route.probing.timeouts.slow_data.total_seconds():.0f}",
    }


def placeholders(case: Case, language: Language = Language.ENGLISH) -> dict[str, str]:
    """Return the placeholders of a text about a failure, such as the owner of the failed mail system."""
    owner = _owner_placeholders(case.mailbox)
    return {
        **_run_placeholders(case.route, language),
        **case.placeholders,
        "owner": render_text("words.owner", owner, language),
        # The configuration file of the mailbox, in words.
        "file": render_text("words.file", owner, language),
        "phase": render_text(f"words.phase.{case.failure.phase}", {}, language),
    }


def _owner_placeholders(mailbox: Mailbox) -> dict[str, str]:
    """Return the agency of a mailbox, or the key of a reference mailbox (one of ours, outside the agencies).

    The other of the two values is empty. A mailbox is named "agency/key"; a reference mailbox has no agency.
    """
    agency, _, key = mailbox.name.rpartition("/")
    return {"agency": agency, "reference": "" if agency else key}
