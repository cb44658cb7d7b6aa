"""Plain-text report of `pantau probe` about one run: duration of each phase, outcome, and explanation."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from datetime import timedelta
from textwrap import wrap

from monitor.advice import Advice, advise, outcome_text
from monitor.advice.case import Case
from monitor.evaluation.evidence import ARRIVED
from monitor.model.route import MonitoredRoute
from probes.model.result import Path, Phase, ProbeResult

_INDENT = "  "
#: Width of the column of labels.
_LABEL_WIDTH = 10
#: Maximum width on wide terminals, because long lines are hard to read.
_MAX_WIDTH = 100


def format_report(
    route: MonitoredRoute, result: ProbeResult, dialogue: Sequence[str], *, explain: bool, verbose: bool, width: int
) -> str:
    """Return the report of a run, at most *width* columns wide except for long words and the dialogue.

    *explain*: add the steps to check, and the relays; *verbose*: add the relays.
    """
    width = min(width, _MAX_WIDTH)
    advice = advise(route, result)
    lines = [route.name, *_format_addresses(route)]
    lines += [f"    {line}" for line in dialogue]
    lines += _format_durations(result)
    if result.path is not None and (explain or verbose):
        lines += _format_path(result.path)
    lines += ["", *_format_outcome(route, result, width), ""]
    lines += _format_explanation(advice, width) if explain else _format_advice(advice, width)
    return "\n".join(lines)


def _format_addresses(route: MonitoredRoute) -> Iterator[str]:
    probe_route = route.route
    yield f"{_INDENT}{probe_route.sender.address} -> {probe_route.address}"
    if probe_route.recipient.inbox.upper() != "INBOX":
        yield f"{_INDENT}looked for in {probe_route.recipient.inbox} as {probe_route.recipient.login.username}"
    # The message may be sent to another address than the mailbox's own, such as one that is forwarded to it.
    elif probe_route.address.lower() != probe_route.recipient.address.lower():
        yield f"{_INDENT}looked for in {probe_route.recipient.address}"


def _format_durations(result: ProbeResult) -> Iterator[str]:
    for phase in Phase:
        if (elapsed := result.phases.get(phase)) is not None:
            yield _format_duration(phase, elapsed)
    yield _format_duration("total", result.duration)


def _format_duration(name: str, elapsed: timedelta) -> str:
    return f"{_INDENT}{name:9} {elapsed.total_seconds() * 1000:10,.1f} ms"


def _format_path(path: Path) -> Iterator[str]:
    for hop in path.hops:
        yield f"{_INDENT}relay     {hop.delay.total_seconds():10,.0f} s   {hop.by or '(nameless)'}"
    if path.skew is not None:
        ahead = path.skew > timedelta(0)
        seconds = abs(path.skew).total_seconds()
        yield f"{_INDENT}a relay's clock is at least {seconds:,.0f} s {'ahead of' if ahead else 'behind'} ours"


def _format_outcome(route: MonitoredRoute, result: ProbeResult, width: int) -> Iterator[str]:
    failure = result.failure
    yield f"{result.outcome.upper()}: {outcome_text(result)}"
    if failure is not None:
        case = Case(route=route.route, result=result, failure=failure)
        # In phase TRANSIT the message has left the sender's server, so no configured server is at fault.
        server = None if failure.phase is Phase.TRANSIT else case.server
        server_text = f" ({case.protocol.upper()} {server.host}:{server.port})" if server else ""
        yield from format_labelled(
            "Where", f"{case.mailbox.address}{server_text}, phase {failure.phase}: {failure.reason}", width
        )
        # Omit a code with which the text of the server's reply or of the bounce already begins.
        codes = [code for code in (str(failure.code or ""), failure.status or "") if code]
        detail_text = " ".join(
            [*(code for code in codes if code not in failure.detail.split()[:2]), failure.detail]
        ).strip()
        if detail_text:
            yield from format_labelled("Detail", detail_text, width)
    if result.rewrites:
        yield from format_labelled("Changed", ", ".join(result.rewrites), width)
    if result.uncertain:
        # The server did not acknowledge the message. That it was accepted is certain only if it arrived.
        receipt = "it was accepted nevertheless" if result.outcome in ARRIVED else "it may have been accepted"
        yield from format_labelled(
            "Doubt", f"the submission ended without an answer after the message: {receipt}", width
        )


def _format_advice(advice: Advice, width: int) -> Iterator[str]:
    yield from format_labelled("Means", advice.what, width)
    yield from format_labelled("Do", advice.do, width)


def _format_explanation(advice: Advice, width: int) -> Iterator[str]:
    yield from _format_advice(advice, width)
    yield from format_labelled("Who", f"{advice.who[:1].upper()}{advice.who[1:]}.", width)
    if advice.steps:
        yield ""
        yield "Check these, in this order:"
        for number, step in enumerate(advice.steps, 1):
            yield from _wrap(f"{number:3}. ", step, width)


def format_labelled(label: str, text: str, width: int) -> Iterator[str]:
    """Yield *text* in lines of at most *width* columns. The label precedes the first line, and the others are indented."""
    yield from _wrap(f"{_INDENT}{label}".ljust(_LABEL_WIDTH), text, width)


def _wrap(first: str, text: str, width: int) -> list[str]:
    # Do not break words: the text may contain commands, which users copy.
    return wrap(
        text,
        width,
        initial_indent=first,
        subsequent_indent=" " * len(first),
        break_on_hyphens=False,
        break_long_words=False,
    )
