"""Decide how something stands of which several sites judge: as enough of them say. Pure.

A cut cable at one site is no outage of a ministry elsewhere. So what is wrong must be said by as many sites as are *needed*;
that it is over, too. Where some say so and too few, it stands as it was told: neither opens an incident nor ends one.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterable, Mapping
from dataclasses import replace
from datetime import datetime

from alerts.model.notice import Cause, Matter
from monitor.judging.matter import WAYS
from monitor.judging.standing import SiteStanding
from monitor.judging.suspect import Trouble
from monitor.model.health import Health
from monitor.model.route import Direction

#: What is wrong with an agency when mail goes in none of these ways.
_OUT: Mapping[frozenset[Direction], Matter] = {frozenset(ways): matter for matter, ways in WAYS.items()}


def agreed(said: Collection[SiteStanding], quorum: int) -> SiteStanding | None:
    """Return how it stands by what the sites say that are fresh and watch it; `None` when there is none of them.

    *quorum*: how many must say the same, or all where they are fewer. Raise `ValueError` for one below 1.
    """
    if quorum < 1:
        raise ValueError(f"a quorum of {quorum}: at least one site must say so")
    if not said:
        return None
    needed = min(quorum, len(said))
    if len(said) == 1:
        (only,) = said
        return only
    trouble = _shared([each.trouble for each in said if each.trouble is not None], needed)
    well = [each.well_since for each in said if each.well_since is not None and each.trouble is None]
    return SiteStanding(
        trouble=trouble,
        cause=_cause(said, trouble),
        well_since=_once(well, needed) if trouble is None else None,
        directions=_directions(said, needed),
    )


def _shared(troubles: Collection[Trouble], needed: int) -> Trouble | None:
    """Return the gravest that so many sites share: who can neither send nor receive cannot send, and is in trouble."""
    if len(troubles) < needed:
        return None
    ways = {way for way in WAYS[Matter.BOTH] if sum(way in WAYS.get(t.matter, ()) for t in troubles) >= needed}
    if not ways:
        # Of what is our own there is one matter; an agency's ways are shared by too few, and that something is wrong by enough.
        own = Matter.OWN_FAULT if all(t.matter is Matter.OWN_FAULT for t in troubles) else Matter.DEGRADED
        return _since([replace(each, matter=own) for each in troubles], needed)
    # Each way by those that say so of it: together they may be more than say so of both.
    parts = [_since([t for t in troubles if way in WAYS.get(t.matter, ())], needed) for way in ways]
    return Trouble(
        matter=_OUT[frozenset(ways)],
        since=min(part.since for part in parts),
        latest=max(part.latest or part.since for part in parts),
        unsteady=any(part.unsteady for part in parts),
    )


def _since(troubles: Collection[Trouble], needed: int) -> Trouble:
    """Return what these say together: from when on as many said so as are needed."""
    return Trouble(
        matter=next(iter(troubles)).matter,
        since=sorted(each.since for each in troubles)[needed - 1],
        latest=sorted(each.latest or each.since for each in troubles)[needed - 1],
        unsteady=sum(each.unsteady for each in troubles) >= needed,
    )


def _once(times: Iterable[datetime], needed: int) -> datetime | None:
    """Return from when on so many said so; `None`: they are too few."""
    in_order = sorted(times)
    return in_order[needed - 1] if len(in_order) >= needed else None


def _cause(said: Iterable[SiteStanding], trouble: Trouble | None) -> Cause | None:
    """Return why most of the sites say that it fails. `None` where two causes are as frequent: half a truth misleads."""
    if trouble is None:
        return None
    causes = Counter(each.cause for each in said if each.trouble is not None and each.cause is not None)
    match causes.most_common(2):
        case [(only, _)]:
            return only
        case [(first, often), (_, seldom)] if often > seldom:
            return first
        case _:
            return None


def _directions(said: Collection[SiteStanding], needed: int) -> Mapping[Direction, Health]:
    """Return how each direction is that enough sites probe."""
    judged: dict[Direction, list[Health]] = {}
    for each in said:
        for direction, health in each.directions.items():
            judged.setdefault(direction, []).append(health)
    return {direction: _joint(healths, needed) for direction, healths in judged.items() if len(healths) >= needed}


def _joint(healths: Collection[Health], needed: int) -> Health:
    counts = Counter(healths)
    down, degraded, up = counts[Health.DOWN], counts[Health.DEGRADED], counts[Health.UP]
    if down >= needed:
        return Health.DOWN
    if down + degraded >= needed:
        return Health.DEGRADED
    return Health.UP if up + degraded >= needed else Health.UNKNOWN
