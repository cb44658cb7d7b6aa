"""Evidence about our own side: when our network and each reference mailbox last worked. No clock, no I/O."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from enum import StrEnum
from typing import Final

from monitor.model.route import Direction, MonitoredRoute
from probes.model.mailbox import Mailbox
from probes.model.reply import Reason
from probes.model.result import Failure, Outcome, Party, Phase, ProbeResult, RefusalCause

#: Phases whose failure may be due to our network or the server.
REACHING = frozenset({Phase.DNS, Phase.CONNECT, Phase.TLS})

#: Outcomes, in any phase, that may be due to our network or the server: no trustworthy answer.
UNANSWERED = frozenset({Outcome.DNS, Outcome.CONNECT, Outcome.TLS, Outcome.TIMEOUT})

#: The message reached its mailbox.
ARRIVED = frozenset({Outcome.DELIVERED, Outcome.JUNK})

#: A server accepted the message; either side may have lost it.
ON_THE_WAY = frozenset({Outcome.LOST, Outcome.BOUNCED, Outcome.CORRUPTED})

#: The party whose mailbox a refusal is about; `None`: the one that was refused.
_ONE_MAILBOX: Final[Mapping[RefusalCause, Party | None]] = {
    RefusalCause.ACCOUNT: None,
    RefusalCause.SESSION_LIMIT: None,
    RefusalCause.SENDING_LIMIT: Party.SENDER,
    RefusalCause.RECEIVING_LIMIT: Party.RECIPIENT,
}

#: Reasons about the mailbox that is searched, whatever the address.
_OF_RECIPIENT: Final = frozenset({Reason.COPY_RETURNED, Reason.NOT_ARRIVED})

#: Control runs that a failed reference must pass before it is trusted: one that loses every other message would
#: otherwise vouch for itself with the rest.
PENANCE = 2


class Ability(StrEnum):
    """An ability of a reference mailbox."""

    #: Its servers answer, which also proves our network.
    REACH = "reach"
    #: A message from it arrived somewhere.
    SEND = "send"
    #: A message to it arrived.
    RECEIVE = "receive"
    #: The same, in time and in the inbox.
    SEND_WELL = "send_well"
    RECEIVE_WELL = "receive_well"

    @property
    def is_well(self) -> bool:
        """Whether it needs more than an arrival."""
        return self in {Ability.SEND_WELL, Ability.RECEIVE_WELL}


@dataclass(frozen=True, slots=True)
class EvidenceNeed:
    """Evidence that a run waits for: an ability of a reference, or of any ("") for our network."""

    ability: Ability
    reference: str = ""


#: Our network.
NETWORK = EvidenceNeed(Ability.REACH)


@dataclass(frozen=True, slots=True, kw_only=True)
class EvidenceRecord:
    """When an ability was last proven and disproven (start of that run)."""

    #: Last seen to work, by any run.
    seen_at: datetime | None = None
    #: Last seen to work while trusted.
    worked_at: datetime | None = None
    failed_at: datetime | None = None
    #: First success after the failure, while trusted.
    regained_at: datetime | None = None
    #: Control runs left before it is trusted again.
    owed: int = 0
    #: Start of a failed control run whose other end was at fault, until that end works again.
    absolved_at: datetime | None = None

    def stands_for(self, moment: datetime) -> bool | None:
        """Return whether it has worked, and not failed, since *moment*; `None` if untested since.

        Also `None` between a failure and the next success.
        """
        if self.failed_at is not None and self.failed_at >= moment:
            return False
        if self.worked_at is None or self.worked_at < moment:
            return None
        uncertain = self.failed_at is not None and self.regained_at is not None and moment < self.regained_at
        return None if uncertain else True

    def was_seen_since(self, moment: datetime) -> bool:
        """Whether any message passed since *moment*."""
        return self.seen_at is not None and self.seen_at >= moment

    def is_later_than(self, now: datetime) -> bool:
        """Whether any time is later than *now*."""
        times = (self.seen_at, self.worked_at, self.failed_at, self.regained_at, self.absolved_at)
        return any(at is not None and at > now for at in times)


_UNKNOWN = EvidenceRecord()
_EVER = datetime.min.replace(tzinfo=UTC)

#: By name of the reference mailbox.
Proofs = Mapping[str, EvidenceRecord]


@dataclass(frozen=True, slots=True, kw_only=True)
class ProofChange:
    """A change of evidence. It affects no moment before *first* or after *last*."""

    want: EvidenceNeed
    first: datetime
    last: datetime


def stretch(before: EvidenceRecord, after: EvidenceRecord) -> tuple[datetime, datetime] | None:
    """Return the first and last moment at which the two records may differ; `None` if there is none."""
    pairs = (
        (before.worked_at, after.worked_at),
        (before.failed_at, after.failed_at),
        (before.regained_at, after.regained_at),
    )
    moved = [at or _EVER for pair in pairs if pair[0] != pair[1] for at in pair]
    if not moved:
        return None
    if (before.failed_at is None) is not (after.failed_at is None):
        # The recovery matters only after a failure.
        moved += [before.regained_at or _EVER, after.regained_at or _EVER]
    first, last = min(moved), max(moved)
    if before.failed_at is not None and before.failed_at == after.failed_at:
        # Until then it has failed in both.
        first = max(first, before.failed_at)
    return first, last


class _Book:
    """Evidence of one ability for each reference, with changes."""

    def __init__(self, ability: Ability) -> None:
        self._ability = ability
        self.proofs: dict[str, EvidenceRecord] = {}
        #: The records before the changes, by reference.
        self._before: dict[str, EvidenceRecord] = {}

    def follow(self, references: Iterable[str], exchanged: Collection[str]) -> None:
        """Keep the records of *references*, except those *exchanged*."""
        known = dict(self.proofs)
        # In place, because `Evidence` holds the same mapping.
        self.proofs.clear()
        for reference in references:
            self.proofs[reference] = known.get(reference, EvidenceRecord())
            if reference in exchanged:
                self.put(reference, EvidenceRecord())
        for gone in known.keys() - self.proofs.keys():
            self._before.pop(gone, None)

    def get(self, reference: str) -> EvidenceRecord | None:
        return self.proofs.get(reference)

    def put(self, reference: str, proof: EvidenceRecord) -> None:
        before = self.proofs[reference]
        if proof is not before:
            self._before.setdefault(reference, before)
            self.proofs[reference] = proof

    def changes(self) -> Iterator[ProofChange]:
        for reference, before in self._before.items():
            if (span := stretch(before, self.proofs[reference])) is not None:
                want = NETWORK if self._ability is Ability.REACH else EvidenceNeed(self._ability, reference)
                yield ProofChange(want=want, first=span[0], last=span[1])
        self._before.clear()


@dataclass(frozen=True, slots=True, kw_only=True)
class Evidence:
    """Evidence about our own side, by ability."""

    proofs: Mapping[Ability, Proofs] = field(default_factory=dict)
    #: Latest refusal that concerned one mailbox of an agency: by agency, mailbox and party. It has not worked since.
    refused: Mapping[str, Mapping[tuple[str, Party], datetime]] = field(default_factory=dict)

    def of(self, ability: Ability) -> Proofs:
        """Return the records of one ability."""
        return self.proofs.get(ability, {})

    def proof(self, want: EvidenceNeed) -> EvidenceRecord:
        """Return the record of one ability of one reference."""
        return self.of(want.ability).get(want.reference, _UNKNOWN)

    def others_are_refused(self, mailbox: str, since: datetime) -> bool:
        """Return whether another mailbox of the same agency was refused *since* a moment."""
        beside = self.refused.get(mailbox.rpartition("/")[0], {})
        return any(at >= since for (other, _), at in beside.items() if other != mailbox)

    def network_stands(self, moment: datetime) -> bool | None:
        """Return whether our network worked at or after *moment*: one reachable reference is enough."""
        found = [proof.stands_for(moment) for proof in self.of(Ability.REACH).values()]
        if any(found):
            return True
        return False if found and all(f is False for f in found) else None


class EvidenceCollector:
    """Collects evidence from every run with a reference mailbox."""

    def __init__(self, controls: Iterable[MonitoredRoute] = ()) -> None:
        self._next: dict[str, str] = {}
        self._previous: dict[str, str] = {}
        self._books = {ability: _Book(ability) for ability in Ability}
        self._refused: dict[str, dict[tuple[str, Party], datetime]] = {}
        proofs = {ability: book.proofs for ability, book in self._books.items()}
        self._evidence = Evidence(proofs=proofs, refused=self._refused)
        self.follow([*controls])

    def follow(
        self, controls: Collection[MonitoredRoute], exchanged: Collection[str] = (), accounts: Iterable[str] = ()
    ) -> None:
        """Replace the control routes. Without any, every mailbox of *accounts* proves our network.

        Records of references are kept, except for those *exchanged*, which are other mailboxes under the same name.
        """
        self._next = {r.route.sender.name: r.route.recipient.name for r in controls}
        self._previous = {recipient: sender for sender, recipient in self._next.items()}
        references = dict.fromkeys([*self._next, *self._previous])
        for book in self._books.values():
            book.follow(references, exchanged)
        accounts = {*accounts}
        for refused in self._refused.values():
            for mailbox in [key for key in refused if key[0] not in accounts or key[0] in exchanged]:
                del refused[mailbox]
        if not references:
            # Otherwise nothing could prove our network, and unreachable agencies would stay up for ever.
            self._books[Ability.REACH].follow(accounts, exchanged)

    def evidence(self) -> Evidence:
        """Return the current evidence."""
        return self._evidence

    def changes(self) -> Sequence[ProofChange]:
        """Return the changes since the last call."""
        return [change for book in self._books.values() for change in book.changes()]

    def rewind(self, now: datetime) -> None:
        """Drop records later than *now*: the clock was set back, and they would apply to everything until then."""
        for book in self._books.values():
            for name, proof in book.proofs.items():
                if proof.is_later_than(now):
                    book.put(name, EvidenceRecord(owed=proof.owed))
        for refused in self._refused.values():
            for mailbox in [mailbox for mailbox, at in refused.items() if at > now]:
                del refused[mailbox]

    def owes(self, want: EvidenceNeed) -> bool:
        """Whether a failed reference must still prove itself."""
        return self._evidence.proof(want).owed > 0

    def hear(self, route: MonitoredRoute, result: ProbeResult) -> None:
        """Record what a run proves about the references at its ends.

        Evidence is dated by the *start* of its run, so that no earlier event excuses or blames a run.
        """
        self._hear_reach(route, result)
        self._hear_mailboxes(route, result)
        sender, recipient = route.route.sender.name, route.route.recipient.name
        at, control = result.started_at, route.direction is Direction.CONTROL
        sends, receives = self._books[Ability.SEND], self._books[Ability.RECEIVE]
        if result.outcome in ARRIVED:
            self._passed(sends, receives, sender, recipient, at, control=control)
        elif control and result.outcome in ON_THE_WAY and only_party(result.failure) is None:
            self._got_lost(sends, receives, sender, recipient, at)
        elif control and result.failure is not None and result.outcome is not Outcome.INCONCLUSIVE:
            # It failed at one end and says nothing about the other.
            if (only_party(result.failure) or result.failure.party) is Party.SENDER:
                _fails(sends, sender, at)
            else:
                _fails(receives, recipient, at)
        sends, receives = self._books[Ability.SEND_WELL], self._books[Ability.RECEIVE_WELL]
        if is_prompt(route, result):
            self._passed(sends, receives, sender, recipient, at, control=control)
        elif control and (result.outcome in ARRIVED or result.outcome in ON_THE_WAY):
            self._got_lost(sends, receives, sender, recipient, at)

    def _hear_mailboxes(self, route: MonitoredRoute, result: ProbeResult) -> None:
        """Record which mailbox of an agency was refused alone, or no longer is."""
        failure = result.failure
        refused = None if failure is None or failure.credentials_refused else only_mailbox(route, failure)
        if refused is not None and (agency := refused.name.rpartition("/")[0]):
            what = refused.name, only_party(failure) or Party.RECIPIENT
            self._refused.setdefault(agency, {})[what] = result.started_at
        elif result.outcome in ARRIVED and route.agency in self._refused:
            for party in Party:
                self._refused[route.agency].pop((end_of(route, party).name, party), None)

    def _passed(
        self, sends: _Book, receives: _Book, sender: str, recipient: str, at: datetime, *, control: bool
    ) -> None:
        """Record a delivered message.

        An agency's message absolves a reference of a failed control run only while the other end of that run has not
        worked since: then the other end was at fault.
        """
        for book, name, others, other in (
            (sends, sender, receives, self._next.get(sender, "")),
            (receives, recipient, sends, self._previous.get(recipient, "")),
        ):
            known = book.get(name) or _UNKNOWN
            failed_at = known.failed_at
            before = failed_at is not None and failed_at < at
            if before and failed_at and not control and not (others.get(other) or _UNKNOWN).was_seen_since(failed_at):
                book.put(name, replace(known, failed_at=None, owed=0, absolved_at=failed_at))
            _works(book, name, at, control=control)

    def _got_lost(self, sends: _Book, receives: _Book, sender: str, recipient: str, at: datetime) -> None:
        """Record a lost message of a control run: either end may be at fault, unless it is known which."""
        for book, name, others, other in ((sends, sender, receives, recipient), (receives, recipient, sends, sender)):
            absolved_at = book.proofs[name].absolved_at
            if absolved_at is None or others.proofs[other].was_seen_since(absolved_at):
                _fails(book, name, at)

    def _hear_reach(self, route: MonitoredRoute, result: ProbeResult) -> None:
        sender, recipient, at = route.route.sender.name, route.route.recipient.name, result.started_at
        reach = self._books[Ability.REACH]
        if Phase.AUTH in result.phases:
            _works(reach, sender, at)
        if result.outcome in ARRIVED or result.outcome in ON_THE_WAY:
            # The mailbox was searched after the message was accepted, so it was reachable.
            _works(reach, recipient, at)
        elif (failure := result.failure) is not None:
            place = sender if failure.party is Party.SENDER else recipient
            if result.outcome in UNANSWERED or could_not_reach(result):
                _fails(reach, place, at, owed=0)
            elif (result.outcome is not Outcome.INCONCLUSIVE or failure.cause) and not _may_be_old(failure):
                # A refusal is an answer.
                _works(reach, place, at)


def only_mailbox(route: MonitoredRoute, failure: Failure) -> Mailbox | None:
    """Return the only mailbox that a failure is about, by the server's answer; `None`: the service."""
    if failure.cause is RefusalCause.RECEIVING_LIMIT and route.route.to and failure.reason not in _OF_RECIPIENT:
        # The public address belongs to the agency.
        return None
    party = only_party(failure)
    return None if party is None else end_of(route, party)


def only_party(failure: Failure | None) -> Party | None:
    """Return the party whose mailbox alone a failure is about."""
    if failure is None:
        return None
    if failure.credentials_refused:
        return failure.party
    if failure.cause is None or failure.cause not in _ONE_MAILBOX:
        return None
    return _ONE_MAILBOX[failure.cause] or failure.party


def end_of(route: MonitoredRoute, party: Party) -> Mailbox:
    """Return the mailbox at one end of a route."""
    return route.route.sender if party is Party.SENDER else route.route.recipient


def could_not_reach(result: ProbeResult) -> bool:
    """Whether this machine could not open a connection. Unknown for one that was suspended."""
    failure = result.failure
    if result.outcome is not Outcome.INCONCLUSIVE or failure is None:
        return False
    return failure.phase in REACHING and failure.reason != Reason.OUR_LATENESS


def proven_by(route: MonitoredRoute) -> Sequence[EvidenceNeed]:
    """Return what a control route proves when its message arrives."""
    sender, recipient = route.route.sender.name, route.route.recipient.name
    ways = ((Ability.SEND, Ability.RECEIVE), (Ability.SEND_WELL, Ability.RECEIVE_WELL))
    ends = [want for send, receive in ways for want in (EvidenceNeed(send, sender), EvidenceNeed(receive, recipient))]
    return [NETWORK, *ends]


def _may_be_old(failure: Failure) -> bool:
    """Whether a refusal may be a minute old: then it does not prove our network now.

    A watcher does not retry a refused password for each run, and token requests are not repeated either.
    """
    held = failure.credentials_refused and failure.party is Party.RECIPIENT
    return held or failure.reason == Reason.TOKEN_REFUSED


def is_prompt(route: MonitoredRoute, result: ProbeResult) -> bool:
    """Whether the message arrived in time and in the inbox."""
    transit = result.phases.get(Phase.TRANSIT)
    late = transit is not None and transit > route.probing.slow_threshold
    return result.outcome is Outcome.DELIVERED and not late


def was_taken_well(route: MonitoredRoute, result: ProbeResult) -> bool:
    """Whether the sender's server confirmed the message in time.

    Otherwise mail programs report an error although the message arrives, and people send it again.
    """
    took = result.phases.get(Phase.DATA)
    return not result.uncertain and (took is None or took <= route.probing.patience.slow_data)


def _works(proofs: _Book, name: str, at: datetime, *, control: bool = False) -> None:
    known = proofs.get(name)
    if known is None:
        return
    if known.seen_at is None or known.seen_at < at:
        known = replace(known, seen_at=at)
    if known.owed and control and (known.failed_at is None or known.failed_at < at):
        known = replace(known, owed=known.owed - 1)
    if not known.owed:
        known = _trusted(known, at)
    proofs.put(name, known)


def _trusted(known: EvidenceRecord, at: datetime) -> EvidenceRecord:
    if known.failed_at is not None and known.failed_at < at and (known.regained_at is None or at < known.regained_at):
        known = replace(known, regained_at=at)
    return known if known.worked_at is not None and known.worked_at >= at else replace(known, worked_at=at)


def _fails(proofs: _Book, name: str, at: datetime, *, owed: int = PENANCE) -> None:
    known = proofs.get(name)
    if known is not None and (known.failed_at is None or known.failed_at < at):
        proofs.put(name, replace(known, failed_at=at, regained_at=None, owed=owed, absolved_at=None))
