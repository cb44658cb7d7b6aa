"""Configuration of references: the operator's mailboxes outside the agencies, with which agencies exchange probes.

A reference is a single mailbox or a *pool*, from which each process uses its own mailbox.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Final

from pydantic import Field

from monitor.config.agency.mailbox import LoginSettings, MailboxSettings, ServerSettings
from monitor.config.agency.route import Mailboxes
from monitor.config.files.findings import Findings
from monitor.config.files.problem import Path
from monitor.config.files.reading import Reader, keys_of
from monitor.config.files.section import Section, Slug
from monitor.model.pool import preferred_order
from monitor.model.translatable import translatable

_SECTION: Final = "references"
_POOL: Final = "pool"


class PoolSettings(Section):
    """A reference with several mailboxes, shown under one name. If one of them can send or be read, all can."""

    pool: tuple[MailboxSettings, ...] = Field(examples=["[{address: ..., smtp: ..., imap: ..., login: ...}]"])
    """Mailboxes. Each process uses the one that its `process_name` selects, so that no process reads another's mail."""


#: Keys of a single mailbox.
_MAILBOX_KEYS: Final = keys_of(MailboxSettings).keys()

#: Configuration of one reference.
ReferenceSettings = MailboxSettings | PoolSettings

#: Substitute for the mailbox of an empty pool, so that no further errors are reported about its routes.
_SERVER: Final = ServerSettings(host="x.invalid")
_BLANK: Final = MailboxSettings(address="x@x.invalid", smtp=_SERVER, imap=_SERVER, login=LoginSettings(username="?"))


class _SingleReferences(Section):
    references: Mapping[Slug, MailboxSettings] = {}


class _PooledReferences(Section):
    references: Mapping[Slug, PoolSettings] = {}


def read_references(reader: Reader) -> Mapping[str, ReferenceSettings]:
    """Return the references of the settings file in the order of the file.

    Invalid values are recorded, and replaced by blanks, which are valid substitutes.
    """
    findings = reader.findings[_SECTION]
    section_data = findings.document.data.get(_SECTION, {})
    if not isinstance(section_data, Mapping):
        read = reader.read(_SingleReferences, {_SECTION: section_data})
        return {} if read is None else read.references
    pooled_sections = {name: each for name, each in section_data.items() if isinstance(each, Mapping) and _POOL in each}
    single_sections = {name: each for name, each in section_data.items() if name not in pooled_sections}
    for name, pool in pooled_sections.items():
        pooled_sections[name] = _without_mailbox(pool, findings[name])
    references: dict[str, ReferenceSettings] = {}
    if (singles := reader.read(_SingleReferences, {_SECTION: single_sections})) is not None:
        references |= singles.references
    if (pooled := reader.read(_PooledReferences, {_SECTION: pooled_sections})) is not None:
        references |= pooled.references
    return {name: references[name] for name in section_data if name in references}


def _without_mailbox(pool: Mapping[str, object], findings: Findings) -> Mapping[str, object]:
    """Return the section of *pool* without keys of a single mailbox, and record these keys as errors."""
    single_mailbox_keys = [key for key in pool if key != _POOL and key in _MAILBOX_KEYS]
    for key in single_mailbox_keys:
        findings[key].broken("is a key of a single mailbox, and this is a pool", "it in a mailbox of the pool")
    return {key: each for key, each in pool.items() if key not in single_mailbox_keys}


def mailboxes_of(reference: ReferenceSettings) -> Mapping[Path, MailboxSettings]:
    """Return the mailboxes of a reference by their paths below it: () for a single mailbox, ("pool", 0) in a pool."""
    if isinstance(reference, MailboxSettings):
        return {(): reference}
    return {(_POOL, number): mailbox for number, mailbox in enumerate(reference.pool)}


def all_mailboxes(references: Mapping[str, ReferenceSettings]) -> Iterator[tuple[Path, MailboxSettings]]:
    """Yield every mailbox of all references, with its configuration path below `references`."""
    for name, reference in references.items():
        for path, mailbox in mailboxes_of(reference).items():
            yield (name, *path), mailbox


def pool_sizes(references: Mapping[str, ReferenceSettings]) -> Mapping[str, int]:
    """Return the number of mailboxes of each reference that is a pool, by name."""
    return {name: len(each.pool) for name, each in references.items() if isinstance(each, PoolSettings)}


def mailboxes_in_use(references: Mapping[str, ReferenceSettings], process: str) -> Mailboxes:
    """Return, for each reference by name, the mailbox that the process *process* uses."""
    # An empty pool, for which an error has been recorded, gets the blank mailbox.
    return {name: next(iter(_assigned_mailboxes(reference, process)), _BLANK) for name, reference in references.items()}


def unused_mailboxes(
    references: Mapping[str, ReferenceSettings], process: str
) -> Iterator[tuple[str, MailboxSettings]]:
    """Yield the mailboxes of pools that the process *process* does not use, each with the name of its reference."""
    for name, reference in references.items():
        for mailbox in _assigned_mailboxes(reference, process)[1:]:
            yield name, mailbox


def _assigned_mailboxes(reference: ReferenceSettings, process: str) -> Sequence[MailboxSettings]:
    """Return the mailboxes of *reference*, first the one that the process *process* uses."""
    if isinstance(reference, MailboxSettings):
        return [reference]
    by_address = {mailbox.address: mailbox for mailbox in reference.pool}
    return [by_address[address] for address in preferred_order(by_address, process)]


def check_pools(references: Mapping[str, ReferenceSettings], findings: Findings) -> None:
    """Record empty pools, and mailboxes with fewer capabilities than the others of their pool."""
    for name, reference in references.items():
        pool_findings = findings[name, _POOL]
        if not isinstance(reference, PoolSettings) or pool_findings.is_broken:
            continue
        if not reference.pool:
            pool_findings.error("holds no mailbox", "at least one with its address, its servers and its login")
        _check_equal_capabilities(reference.pool, pool_findings)


def _check_equal_capabilities(pool: Sequence[MailboxSettings], findings: Findings) -> None:
    """Record mailboxes of a pool that cannot send, or cannot be read, although others can.

    With such mailboxes, the possible routes would depend on the mailbox that a process uses.
    """
    for key, capabilities, message in (
        ("smtp", [each.can_send for each in pool], "cannot send, although others of the pool can"),
        ("imap", [each.is_readable for each in pool], "cannot be read, although others of the pool can"),
    ):
        for number, is_capable in enumerate(capabilities):
            if not is_capable and any(capabilities):
                findings[number].error(message, translatable("{key}: as the others have it", key=key))
