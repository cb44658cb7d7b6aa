"""Renaming of an agency or a mailbox: its records are renamed, and the configuration with the new name is applied.

The files are edited first: `pantau rename` then declares that the new name denotes the same thing.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta

import structlog

from alerts.persistence.clock import Clock
from alerts.persistence.store import StoreUnavailable
from monitor.bridge.incident_reporter import outages_of
from monitor.config.files.problem import Problem, Severity, nearest
from monitor.config.loading import Configuration, ConfigurationError
from monitor.model.renaming import Renamed, Renaming
from monitor.service.errors import NotFoundError, OperationRejectedError
from monitor.service.reloader import Reloader
from monitor.store.admin.renames import Known, Renames
from monitor.store.engine.ledger import SqlStore
from monitor.store.probing.history import History

log = structlog.get_logger()

#: An agency with older records under the new name is another one, and not one whose file was edited a moment ago.
_NEW_FOR = timedelta(days=1)


@dataclass(frozen=True, slots=True, kw_only=True)
class RenameResult:
    """Result: the number of renamed records of each kind, and the problems of the configuration."""

    counts: Mapping[str, int] = field(default_factory=dict)
    problems: Sequence[Problem] = ()


class Renamer:
    """Executes renames. Nothing else may apply a configuration meanwhile."""

    def __init__(
        self, *, renames: Renames, reloader: Reloader, store: SqlStore, history: History, clock: Clock
    ) -> None:
        self._renames = renames
        self._reloader = reloader
        self._store = store
        self._history = history
        self._clock = clock
        #: A concurrent request for the same rename gets the result of the first.
        self._renaming = asyncio.Lock()

    async def rename(self, renaming: Renaming, by: str) -> RenameResult:
        """Rename the records, and apply the configuration of the files.

        Raise `OperationRejectedError`; then nothing has changed.
        """
        async with self._renaming:
            return await self._rename(renaming, by)

    async def _rename(self, renaming: Renaming, by: str) -> RenameResult:
        counts: dict[str, int] = {}

        async def follow(configuration: Configuration) -> None:
            await self._check(renaming, configuration)
            await self._history.catch_up()
            counts.update(await self._renames.rename(renaming, by=by, now=self._clock.now()))
            self._history.rename(renaming.route)
            log.warning("records renamed", kind=str(renaming.what), old=renaming.old, new=renaming.new, **counts)

        try:
            problems = await self._reloader.take_up_after(follow, by)
            # Runs that ended under the old name before the new one was active.
            await self._renames.rename(renaming, by=by, now=self._clock.now(), is_rest=True)
            await self._acquaint(renaming)
        except ConfigurationError as bad:
            errors = [str(p) for p in bad.problems if p.severity is Severity.ERROR]
            raise OperationRejectedError(
                "\n".join(["the configuration has errors, and nothing is renamed:", *errors[:20]])
            ) from None
        except StoreUnavailable as away:
            raise OperationRejectedError(
                f"the store is away ({away}); repeat it when it is back: what has followed stays so"
            ) from None
        return RenameResult(counts=counts, problems=problems)

    async def _acquaint(self, renaming: Renaming) -> None:
        """Apply the new name in memory, also if it was monitored before its records were renamed."""
        self._history.rename(renaming.route)
        async with self._store.reading() as ledger:
            incidents = await ledger.open_incidents()
        still = {i.dedup_key: i.detected for i in incidents if i.detected is not None}
        runtime = self._reloader.runtime
        gained = {renaming.new} & runtime.owned
        runtime.consensus.gain(gained, still)
        runtime.consensus.restore_outages(outages_of(incidents))
        runtime.pipeline.look_again(gained)

    async def _check(self, renaming: Renaming, configuration: Configuration) -> None:
        if renaming.old == renaming.new:
            raise OperationRejectedError(f"{renaming.old} is called so already; there is nothing to do")
        if renaming.what is Renamed.AGENCY:
            await self._check_agency(renaming, configuration)
            return
        _check_mailbox(renaming, configuration)
        if not await self._renames.has_any(renaming):
            if await self._renames.was_done(renaming):
                raise OperationRejectedError(_done_before(renaming))
            raise NotFoundError(
                f"there are no records of a mailbox '{renaming.old}'; `pantau reload` is enough for what is new"
            )

    async def _check_agency(self, renaming: Renaming, configuration: Configuration) -> None:
        old, new, agencies = renaming.old, renaming.new, configuration.registry.agencies
        _in_the_files(renaming, agencies, "agency", f"`agency: {new}` in its file")
        known, theirs = await self._renames.known(old), await self._renames.known(new)
        done = await self._renames.was_done(renaming)
        if not known.is_anything:
            if done:
                raise OperationRejectedError(_done_before(renaming))
            codes = {code.casefold(): code for code in await self._renames.agencies()}
            near = codes.get(nearest(old.casefold(), codes) or "")
            raise NotFoundError(
                f"there are no records of an agency '{old}'" + (f"; did you mean {near}?" if near else "")
            )
        if known.open is not None and theirs.open is not None:
            raise OperationRejectedError(
                f"{known.open} of {old} and {theirs.open} of {new} are both open; end one with `pantau close`, and repeat this"
            )
        if not done and _is_another(theirs, self._clock.now() - _NEW_FOR):
            raise OperationRejectedError(
                f"{new} has records of its own ({theirs.incidents} incidents); two agencies cannot become one. If {old} has "
                f"been merged into it, leave the records of both as they are"
            )


def _done_before(renaming: Renaming) -> str:
    return f"{renaming.old} has been renamed to {renaming.new} before, and nothing is left under {renaming.old}"


def _is_another(theirs: Known, before: datetime) -> bool:
    return theirs.since is not None and theirs.since < before


def _in_the_files(renaming: Renaming, known: Iterable[str], what: str, key: str) -> None:
    """Raise `OperationRejectedError` unless the files use the new name and not the old one."""
    names, old, new = list(known), renaming.old, renaming.new
    if old in names:
        raise OperationRejectedError(
            f"{old} is in the configuration still: write {new} there first ({key}), and repeat this"
        )
    if new not in names:
        folded = {name.casefold(): name for name in names}
        near = folded.get(nearest(new.casefold(), folded) or "")
        raise OperationRejectedError(
            f"there is no {what} '{new}' in the configuration"
            + (f"; did you mean {near}?" if near else f": write it there first ({key}), and repeat this")
        )


def _check_mailbox(renaming: Renaming, configuration: Configuration) -> None:
    old_code, _, _ = renaming.old.rpartition("/")
    new_code, _, _ = renaming.new.rpartition("/")
    if old_code != new_code:
        raise OperationRejectedError(
            f"'{renaming.old}' and '{renaming.new}' are not of the same agency; write CODE/KEY for both, or KEY for both if it "
            "is a reference"
        )
    if not new_code:
        _in_the_files(renaming, configuration.settings.references, "reference", "its key below `references`")
        return
    agency = configuration.registry.agencies.get(new_code)
    if agency is None:
        raise NotFoundError(f"there is no agency '{new_code}' in the configuration")
    _in_the_files(renaming, [f"{new_code}/{key}" for key in agency.mailboxes], "mailbox", "its key below `mailboxes`")
