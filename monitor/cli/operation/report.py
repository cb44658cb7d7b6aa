"""Report of a run by `pantau probe`: phases, outcome, and explanation. Plain text, wrapped by words."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from datetime import timedelta
from textwrap import wrap

from monitor.advice import Advice, advise, ended
from monitor.advice.case import Case
from monitor.evaluation.evidence import ARRIVED
from monitor.model.route import MonitoredRoute
from probes.model.result import Path, Phase, ProbeResult

_INDENT = "  "
#: The column of the text behind a label.
_HANG = 10
#: Longer lines are hard to read, however wide the terminal is.
_WIDEST = 100


def report(
    route: MonitoredRoute, result: ProbeResult, dialogue: Sequence[str], *, explain: bool, verbose: bool, width: int
) -> str:
    """Return the report of a run, at most *width* columns wide except for unbreakable parts."""
    width = min(width, _WIDEST)
    advice = advise(route, result)
    lines = [route.name, *_ends_of(route)]
    lines += [f"    {line}" for line in dialogue]
    lines += _times(result)
    if result.path is not None and (explain or verbose):
        lines += _way(result.path)
    lines += ["", *_outcome(route, result, width), ""]
    lines += _explanation(advice, width) if explain else _advice(advice, width)
    return "\n".join(lines)


def _ends_of(route: MonitoredRoute) -> Iterator[str]:
    ends = route.route
    yield f"{_INDENT}{ends.sender.address} -> {ends.address}"
    if ends.recipient.inbox.upper() != "INBOX":
        yield f"{_INDENT}looked for in {ends.recipient.inbox} as {ends.recipient.login.username}"
    elif ends.address.lower() != ends.recipient.address.lower():
        yield f"{_INDENT}looked for in {ends.recipient.address}"


def _times(result: ProbeResult) -> Iterator[str]:
    for phase in Phase:
        if (span := result.phases.get(phase)) is not None:
            yield _time(phase, span)
    yield _time("whole", result.duration)


def _time(name: str, span: timedelta) -> str:
    return f"{_INDENT}{name:9} {span.total_seconds() * 1000:10,.1f} ms"


def _way(path: Path) -> Iterator[str]:
    for hop in path.hops:
        yield f"{_INDENT}relay     {hop.delay.total_seconds():10,.0f} s   {hop.by or '(nameless)'}"
    if path.skew is not None:
        ahead = path.skew > timedelta(0)
        seconds = abs(path.skew).total_seconds()
        yield f"{_INDENT}a relay's clock is at least {seconds:,.0f} s {'ahead of' if ahead else 'behind'} ours"


def _outcome(route: MonitoredRoute, result: ProbeResult, width: int) -> Iterator[str]:
    failure = result.failure
    yield f"{result.outcome.upper()}: {ended(result)}"
    if failure is not None:
        case = Case(route=route.route, result=result, failure=failure)
        # In transit a message is at no server of ours.
        server = None if failure.phase is Phase.TRANSIT else case.server
        at = f" ({case.protocol.upper()} {server.host}:{server.port})" if server else ""
        yield from labelled("Where", f"{case.mailbox.address}{at}, phase {failure.phase}: {failure.reason}", width)
        # Servers' replies and reports often begin with the codes already.
        codes = [code for code in (str(failure.code or ""), failure.status or "") if code]
        said = " ".join([*(code for code in codes if code not in failure.detail.split()[:2]), failure.detail]).strip()
        if said:
            yield from labelled("Detail", said, width)
    if result.rewrites:
        yield from labelled("Changed", ", ".join(result.rewrites), width)
    if result.uncertain:
        came = "it was taken all the same" if result.outcome in ARRIVED else "it may have been taken"
        yield from labelled("Doubt", f"the submission ended without an answer after the message: {came}", width)


def _advice(advice: Advice, width: int) -> Iterator[str]:
    yield from labelled("Means", advice.what, width)
    yield from labelled("Do", advice.do, width)


def _explanation(advice: Advice, width: int) -> Iterator[str]:
    yield from _advice(advice, width)
    yield from labelled("Who", f"{advice.who[:1].upper()}{advice.who[1:]}.", width)
    if advice.steps:
        yield ""
        yield "Check these, in this order:"
        for number, step in enumerate(advice.steps, 1):
            yield from _wrapped(f"{number:3}. ", step, width)


def labelled(label: str, text: str, width: int) -> Iterator[str]:
    """Yield the lines of *text* behind its label."""
    yield from _wrapped(f"{_INDENT}{label}".ljust(_HANG), text, width)


def _wrapped(first: str, text: str, width: int) -> list[str]:
    # A command must be complete to be usable: neither its options nor its long words are broken.
    return wrap(
        text,
        width,
        initial_indent=first,
        subsequent_indent=" " * len(first),
        break_on_hyphens=False,
        break_long_words=False,
    )
