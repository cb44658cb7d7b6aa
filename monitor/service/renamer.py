"""Renaming of an agency or a mailbox: its records get the new name, and the configuration with the new name is applied.

The operator first edits the files, and then runs `pantau rename`. Without the command, the new name would count as a
new agency without a history. A mailbox belongs to an agency, or is a *reference*: a mailbox of ours outside of them.
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
from monitor.config.files.problem import Problem, Severity, closest_match
from monitor.config.loading import Configuration, ConfigurationError
from monitor.model.renaming import RenamedKind, Renaming
from monitor.service.errors import NotFoundError, OperationRejectedError
from monitor.service.reloader import Reloader
from monitor.store.admin.renames import AgencyRecords, Renames
from monitor.store.engine.unit_of_work import SqlStore
from monitor.store.probing.history import History

log = structlog.get_logger()

#: Maximum age of records under the new name of an agency. Younger records were written since the edit of the file, and
#: belong to the renamed agency; older records belong to another agency, and prevent the rename.
_NEW_AGENCY_PERIOD = timedelta(days=1)


@dataclass(frozen=True, slots=True, kw_only=True)
class RenameResult:
    """Result of a rename."""

    #: Number of renamed records, by kind of record.
    counts: Mapping[str, int] = field(default_factory=dict)
    #: Problems of the applied configuration.
    problems: Sequence[Problem] = ()


class Renamer:
    """Executor of renames. A rename excludes reloads while it runs."""

    def __init__(
        self, *, renames: Renames, reloader: Reloader, store: SqlStore, history: History, clock: Clock
    ) -> None:
        self._renames = renames
        self._reloader = reloader
        self._store = store
        self._history = history
        self._clock = clock
        #: One rename at a time: a concurrent request for the same rename then finds it done.
        self._renaming = asyncio.Lock()

    async def rename(self, renaming: Renaming, by: str) -> RenameResult:
        """Rename the records, and apply the configuration of the files.

        Raise `OperationRejectedError`; then nothing has changed, unless the message says so.
        """
        async with self._renaming:
            return await self._rename(renaming, by)

    async def _rename(self, renaming: Renaming, by: str) -> RenameResult:
        counts: dict[str, int] = {}

        async def rename_records(configuration: Configuration) -> None:
            await self._check(renaming, configuration)
            await self._history.catch_up()
            counts.update(await self._renames.rename(renaming, by=by, now=self._clock.now()))
            self._history.rename(renaming.route)
            log.warning("records renamed", kind=str(renaming.kind), old=renaming.old, new=renaming.new, **counts)

        try:
            problems = await self._reloader.apply_after(rename_records, by)
            # Rename again the records that were written under the old name until the new configuration was active.
            await self._renames.rename(renaming, by=by, now=self._clock.now(), is_second_pass=True)
            await self._apply_in_memory(renaming)
        except ConfigurationError as error:
            errors = [str(p) for p in error.problems if p.severity is Severity.ERROR]
            raise OperationRejectedError(
                "\n".join(["the configuration has errors, and nothing is renamed:", *errors[:20]])
            ) from None
        except StoreUnavailable as error:
            raise OperationRejectedError(
                f"the database is unavailable ({error}); run the command again later: renamed records stay renamed"
            ) from None
        return RenameResult(counts=counts, problems=problems)

    async def _apply_in_memory(self, renaming: Renaming) -> None:
        """Apply the new name in memory. A reload may have activated the name before its records were renamed."""
        self._history.rename(renaming.route)
        async with self._store.reading() as uow:
            incidents = await uow.open_incidents()
        detected_types = {each.dedup_key: each.detected for each in incidents if each.detected is not None}
        runtime = self._reloader.runtime
        # Empty for a mailbox, and for an agency that another process probes.
        owned_new = {renaming.new} & runtime.owned
        runtime.reporter.add_agencies(owned_new, detected_types)
        runtime.reporter.restore_outages(outages_of(incidents))
        runtime.pipeline.apply_routes(owned_new)

    async def _check(self, renaming: Renaming, configuration: Configuration) -> None:
        if renaming.old == renaming.new:
            raise OperationRejectedError(f"{renaming.old} is both the old and the new name; there is nothing to do")
        if renaming.kind is RenamedKind.AGENCY:
            await self._check_agency(renaming, configuration)
            return
        _check_mailbox(renaming, configuration)
        if not await self._renames.has_probe_records(renaming):
            if await self._renames.is_already_renamed(renaming):
                raise OperationRejectedError(_already_done_message(renaming))
            raise NotFoundError(
                f"there are no records of a mailbox '{renaming.old}'; for a new mailbox `pantau reload` is enough"
            )

    async def _check_agency(self, renaming: Renaming, configuration: Configuration) -> None:
        old, new, agencies = renaming.old, renaming.new, configuration.registry.agencies
        _check_files(renaming, agencies, "agency", f"`agency: {new}` in its file")
        old_records, new_records = await self._renames.find_records(old), await self._renames.find_records(new)
        is_repeat = await self._renames.is_already_renamed(renaming)
        if not old_records.has_any_record:
            if is_repeat:
                raise OperationRejectedError(_already_done_message(renaming))
            codes = {code.casefold(): code for code in await self._renames.agencies()}
            suggestion = codes.get(closest_match(old.casefold(), codes) or "")
            raise NotFoundError(
                f"there are no records of an agency '{old}'" + (f"; did you mean {suggestion}?" if suggestion else "")
            )
        if old_records.open is not None and new_records.open is not None:
            raise OperationRejectedError(
                f"{old_records.open} of {old} and {new_records.open} of {new} are both open; close one with "
                "`pantau close`, and try again"
            )
        # A repeated rename completes an interrupted one, which has already moved records to the new name.
        if not is_repeat and _is_other_agency(new_records, self._clock.now() - _NEW_AGENCY_PERIOD):
            raise OperationRejectedError(
                f"{new} has records of its own ({new_records.incidents} incidents); two agencies cannot become one. If "
                f"{old} has been merged into it, leave the records of both as they are"
            )


def _already_done_message(renaming: Renaming) -> str:
    return f"{renaming.old} has been renamed to {renaming.new} before, and nothing is left under {renaming.old}"


def _is_other_agency(records: AgencyRecords, before: datetime) -> bool:
    return records.since is not None and records.since < before


def _check_files(renaming: Renaming, names_in_files: Iterable[str], kind: str, hint: str) -> None:
    """Raise `OperationRejectedError` unless the files use the new name and not the old one."""
    names, old, new = list(names_in_files), renaming.old, renaming.new
    if old in names:
        raise OperationRejectedError(
            f"{old} is still in the configuration: change it to {new} there first ({hint}), and repeat this"
        )
    if new not in names:
        folded = {name.casefold(): name for name in names}
        suggestion = folded.get(closest_match(new.casefold(), folded) or "")
        raise OperationRejectedError(
            f"there is no {kind} '{new}' in the configuration"
            + (f"; did you mean {suggestion}?" if suggestion else f": add it there first ({hint}), and repeat this")
        )


def _check_mailbox(renaming: Renaming, configuration: Configuration) -> None:
    old_code, _, _ = renaming.old.rpartition("/")
    new_code, _, _ = renaming.new.rpartition("/")
    if old_code != new_code:
        raise OperationRejectedError(
            f"'{renaming.old}' and '{renaming.new}' are not of the same agency; write CODE/KEY for both, or KEY for "
            "both if it is a reference"
        )
    if not new_code:
        _check_files(renaming, configuration.settings.references, "reference", "its key below `references`")
        return
    agency = configuration.registry.agencies.get(new_code)
    if agency is None:
        raise NotFoundError(f"there is no agency '{new_code}' in the configuration")
    _check_files(renaming, [f"{new_code}/{key}" for key in agency.mailboxes], "mailbox", "its key below `mailboxes`")
