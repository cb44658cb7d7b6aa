"""Configuration of reference mailboxes: single mailboxes, or pools that give each process its own mailbox."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Final

from pydantic import Field

from monitor.config.agency.mailbox import LoginSettings, MailboxSettings, ServerSettings
from monitor.config.agency.route import Mailboxes
from monitor.config.files.findings import Findings
from monitor.config.files.problem import Path
from monitor.config.files.reading import Reader, names
from monitor.config.files.section import Section, Slug
from monitor.model.lazy_text import said
from monitor.model.pool import dealt

_SECTION: Final = "references"
_POOL: Final = "pool"


class PoolSettings(Section):
    """A reference with several mailboxes of equal capabilities. They are evaluated and shown under one name."""

    pool: tuple[MailboxSettings, ...] = Field(examples=["[{address: ..., smtp: ..., imap: ..., login: ...}]"])
    """Each process uses one of them, by its name (`process_name`), so that it reads no mail of others."""


_KEYS: Final = names(MailboxSettings).keys()

#: Configuration of a reference.
ReferenceSettings = MailboxSettings | PoolSettings

#: Substitute for the mailbox of an invalid pool. Nothing is reported about its routes.
_SERVER: Final = ServerSettings(host="x.invalid")
_BLANK: Final = MailboxSettings(address="x@x.invalid", smtp=_SERVER, imap=_SERVER, login=LoginSettings(username="?"))


class _Singles(Section):
    references: Mapping[Slug, MailboxSettings] = {}


class _Pools(Section):
    references: Mapping[Slug, PoolSettings] = {}


def read_references(reader: Reader) -> Mapping[str, ReferenceSettings]:
    """Return the references of the settings file in the order of the file. Invalid ones are blank."""
    findings = reader.findings[_SECTION]
    written = findings.document.data.get(_SECTION, {})
    if not isinstance(written, Mapping):
        read = reader.read(_Singles, {_SECTION: written})
        return {} if read is None else read.references
    several = {name: each for name, each in written.items() if isinstance(each, Mapping) and _POOL in each}
    one = {name: each for name, each in written.items() if name not in several}
    for name, pool in several.items():
        several[name] = _without_mailbox(pool, findings[name])
    found: dict[str, ReferenceSettings] = {}
    if (singles := reader.read(_Singles, {_SECTION: one})) is not None:
        found |= singles.references
    if (pooled := reader.read(_Pools, {_SECTION: several})) is not None:
        found |= pooled.references
    return {name: found[name] for name in written if name in found}


def _without_mailbox(pool: Mapping[str, object], findings: Findings) -> Mapping[str, object]:
    """Return a pool without the keys of a single mailbox, and record these keys."""
    beside = [key for key in pool if key != _POOL and key in _KEYS]
    for key in beside:
        findings[key].broken("is of one mailbox, and there is a pool of them", "it in a mailbox of the pool")
    return {key: each for key, each in pool.items() if key not in beside}


def members(reference: ReferenceSettings) -> Mapping[Path, MailboxSettings]:
    """Return the mailboxes of a reference by their paths below it."""
    if isinstance(reference, MailboxSettings):
        return {(): reference}
    return {(_POOL, number): mailbox for number, mailbox in enumerate(reference.pool)}


def every_member(references: Mapping[str, ReferenceSettings]) -> Iterator[tuple[Path, MailboxSettings]]:
    """Yield every mailbox of all references, with its path below them."""
    for name, reference in references.items():
        for path, mailbox in members(reference).items():
            yield (name, *path), mailbox


def pools(references: Mapping[str, ReferenceSettings]) -> Mapping[str, int]:
    """Return the number of mailboxes of each reference that is a pool, by name."""
    return {name: len(each.pool) for name, each in references.items() if isinstance(each, PoolSettings)}


def in_use(references: Mapping[str, ReferenceSettings], process: str) -> Mailboxes:
    """Return the mailbox of each reference that the process *process* uses."""
    # An empty pool has been recorded as an error.
    return {name: next(iter(_dealt(reference, process)), _BLANK) for name, reference in references.items()}


def at_rest(references: Mapping[str, ReferenceSettings], process: str) -> Iterator[tuple[str, MailboxSettings]]:
    """Yield the mailboxes that the process *process* does not use, each with the name of its reference."""
    for name, reference in references.items():
        for mailbox in _dealt(reference, process)[1:]:
            yield name, mailbox


def _dealt(reference: ReferenceSettings, process: str) -> Sequence[MailboxSettings]:
    if isinstance(reference, MailboxSettings):
        return [reference]
    by_address = {mailbox.address: mailbox for mailbox in reference.pool}
    return [by_address[address] for address in dealt(by_address, process)]


def check_pools(references: Mapping[str, ReferenceSettings], findings: Findings) -> None:
    """Record empty pools, and mailboxes with fewer capabilities than the others of their pool."""
    for name, reference in references.items():
        there = findings[name, _POOL]
        if not isinstance(reference, PoolSettings) or there.is_broken:
            continue
        if not reference.pool:
            there.error("holds no mailbox", "at least one with its address, its servers and its login")
        _check_alike(reference.pool, there)


def _check_alike(pool: Sequence[MailboxSettings], findings: Findings) -> None:
    """Record mailboxes that cannot send or be read while others can.

    Otherwise the routes would depend on which process has which mailbox.
    """
    for key, can, cannot in (
        ("smtp", [each.sends for each in pool], "nothing can be sent from it, and from others of the pool it can"),
        ("imap", [each.is_read for each in pool], "nobody can look into it, and into others of the pool one can"),
    ):
        for number, able in enumerate(can):
            if not able and any(can):
                findings[number].error(cannot, said("{key}: as the others have it", key=key))
