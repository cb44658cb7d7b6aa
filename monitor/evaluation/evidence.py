"""Evidence that our own side works: when our network and each reference mailbox last worked. No clock, no I/O.

A reference mailbox is a mailbox of ours outside of the agencies, at the other end of their routes. Control runs, from
one reference mailbox to another, give evidence about both; other runs give evidence about those at their ends.
"""

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

#: Phases in which our network may be the cause of a failure, as well as the server.
CONNECTING = frozenset({Phase.DNS, Phase.CONNECT, Phase.TLS})

#: Outcomes, in any phase, without an authentic answer of the server: our network may be the cause.
UNANSWERED = frozenset({Outcome.DNS, Outcome.CONNECT, Outcome.TLS, Outcome.TIMEOUT})

#: The message reached its mailbox.
ARRIVED = frozenset({Outcome.DELIVERED, Outcome.JUNK})

#: A server accepted the message, and it did not arrive intact: either side may be the cause.
IN_TRANSIT = frozenset({Outcome.LOST, Outcome.BOUNCED, Outcome.CORRUPTED})

#: Refusals that concern a single mailbox, each with the end of the route at which the mailbox is; `None`: the end at
#: which the server refused.
_MAILBOX_REFUSALS: Final[Mapping[RefusalCause, Party | None]] = {
    RefusalCause.ACCOUNT: None,
    RefusalCause.SESSION_LIMIT: None,
    RefusalCause.SENDING_LIMIT: Party.SENDER,
    RefusalCause.RECEIVING_LIMIT: Party.RECIPIENT,
}

#: Reasons about the mailbox in which the message is searched, even if it was sent to another address.
_RECIPIENT_REASONS: Final = frozenset({Reason.COPY_RETURNED, Reason.NOT_ARRIVED})

#: Length of the probation: after a failure, a reference mailbox gives evidence again after this number of successful
#: control runs. Without a probation, a mailbox that loses every second message would count as working.
PROBATION_RUNS = 2


class Ability(StrEnum):
    """An ability of a reference mailbox that evidence is about."""

    #: Its servers answer, which also proves our network.
    REACH = "reach"
    #: A message from it arrived somewhere.
    SEND = "send"
    #: A message to it arrived.
    RECEIVE = "receive"
    #: A message from it arrived in time and in the inbox.
    SEND_WELL = "send_well"
    #: A message to it arrived in time and in the inbox.
    RECEIVE_WELL = "receive_well"

    @property
    def is_prompt(self) -> bool:
        """Whether the ability includes the arrival in time and in the inbox."""
        return self in {Ability.SEND_WELL, Ability.RECEIVE_WELL}


@dataclass(frozen=True, slots=True)
class EvidenceNeed:
    """Evidence that a pending run needs: an ability of the mailbox *reference*, or of any mailbox if the name is empty.

    A run is pending while the evidence does not show yet whether our own side caused its failure.
    """

    ability: Ability
    reference: str = ""


#: Our network works if any reference mailbox can be reached.
NETWORK = EvidenceNeed(Ability.REACH)


@dataclass(frozen=True, slots=True, kw_only=True)
class EvidenceRecord:
    """When an ability was last proven and disproven. Each time is the start of a run."""

    #: Last success.
    seen_at: datetime | None = None
    #: Last success outside of a probation.
    worked_at: datetime | None = None
    failed_at: datetime | None = None
    #: First success after the failure, outside of a probation.
    regained_at: datetime | None = None
    #: Number of successful control runs left until the probation ends.
    probation_runs: int = 0
    #: Start of a failed control run for which the other end is at fault. It applies until the other end works again.
    excused_at: datetime | None = None

    def has_worked_since(self, moment: datetime) -> bool | None:
        """Return whether it has worked, and not failed, since *moment*; `None` if there is no run to show it.

        Also `None` if *moment* is between a failure and the first success after it.
        """
        if self.failed_at is not None and self.failed_at >= moment:
            return False
        if self.worked_at is None or self.worked_at < moment:
            return None
        uncertain = self.failed_at is not None and self.regained_at is not None and moment < self.regained_at
        return None if uncertain else True

    def has_passed_since(self, moment: datetime) -> bool:
        """Whether it had a success since *moment*, even in a probation."""
        return self.seen_at is not None and self.seen_at >= moment

    def is_later_than(self, now: datetime) -> bool:
        """Whether any time is later than *now*."""
        times = (self.seen_at, self.worked_at, self.failed_at, self.regained_at, self.excused_at)
        return any(at is not None and at > now for at in times)


_NO_RECORD = EvidenceRecord()
_LONG_AGO = datetime.min.replace(tzinfo=UTC)

#: By name of the reference mailbox.
Records = Mapping[str, EvidenceRecord]


@dataclass(frozen=True, slots=True, kw_only=True)
class ProofChange:
    """A change of evidence. `has_worked_since` is the same as before for moments before *first* and after *last*."""

    need: EvidenceNeed
    first: datetime
    last: datetime


def changed_span(before: EvidenceRecord, after: EvidenceRecord) -> tuple[datetime, datetime] | None:
    """Return the first and last moment for which `has_worked_since` may differ; `None` if there is none."""
    pairs = (
        (before.worked_at, after.worked_at),
        (before.failed_at, after.failed_at),
        (before.regained_at, after.regained_at),
    )
    changed = [at or _LONG_AGO for pair in pairs if pair[0] != pair[1] for at in pair]
    if not changed:
        return None
    if (before.failed_at is None) is not (after.failed_at is None):
        # `regained_at` has an effect only together with `failed_at`.
        changed += [before.regained_at or _LONG_AGO, after.regained_at or _LONG_AGO]
    first, last = min(changed), max(changed)
    if before.failed_at is not None and before.failed_at == after.failed_at:
        # For moments up to this failure, both records answer that the ability failed.
        first = max(first, before.failed_at)
    return first, last


class _AbilityRecords:
    """Evidence about one ability of each reference mailbox, and its changes."""

    def __init__(self, ability: Ability) -> None:
        self._ability = ability
        self.records: dict[str, EvidenceRecord] = {}
        #: Records that changed since the last `changes`, with their earlier value, by reference mailbox.
        self._before: dict[str, EvidenceRecord] = {}

    def replace_references(self, references: Iterable[str], replaced: Collection[str]) -> None:
        """Keep the records of *references*; reset those of *replaced* ones."""
        record_before = dict(self.records)
        # In place, because `Evidence` holds the same mapping.
        self.records.clear()
        for reference in references:
            self.records[reference] = record_before.get(reference, EvidenceRecord())
            if reference in replaced:
                self.set(reference, EvidenceRecord())
        for removed in record_before.keys() - self.records.keys():
            self._before.pop(removed, None)

    def get(self, reference: str) -> EvidenceRecord | None:
        return self.records.get(reference)

    def set(self, reference: str, record: EvidenceRecord) -> None:
        before = self.records[reference]
        if record is not before:
            self._before.setdefault(reference, before)
            self.records[reference] = record

    def changes(self) -> Iterator[ProofChange]:
        for reference, before in self._before.items():
            if (span := changed_span(before, self.records[reference])) is not None:
                need = NETWORK if self._ability is Ability.REACH else EvidenceNeed(self._ability, reference)
                yield ProofChange(need=need, first=span[0], last=span[1])
        self._before.clear()


@dataclass(frozen=True, slots=True, kw_only=True)
class Evidence:
    """Evidence about our own side, by ability."""

    by_ability: Mapping[Ability, Records] = field(default_factory=dict)
    #: Mailboxes of agencies that a server refused for a reason of their own, and that have not worked since. By agency,
    #: then by mailbox and end of the route: the start of the latest refused run.
    refused: Mapping[str, Mapping[tuple[str, Party], datetime]] = field(default_factory=dict)

    def records(self, ability: Ability) -> Records:
        """Return the records of one ability."""
        return self.by_ability.get(ability, {})

    def record(self, need: EvidenceNeed) -> EvidenceRecord:
        """Return the record of one ability of one reference."""
        return self.records(need.ability).get(need.reference, _NO_RECORD)

    def has_other_refusal(self, mailbox: str, since: datetime) -> bool:
        """Return whether another mailbox of the same agency was refused *since* a moment."""
        refused = self.refused.get(mailbox.rpartition("/")[0], {})
        return any(at >= since for (other, _), at in refused.items() if other != mailbox)

    def has_network_worked_since(self, moment: datetime) -> bool | None:
        """Return whether our network has worked since *moment*; `None` if there is no run to show it.

        One reachable reference mailbox is enough.
        """
        answers = [proof.has_worked_since(moment) for proof in self.records(Ability.REACH).values()]
        if any(answers):
            return True
        return False if answers and all(f is False for f in answers) else None


class EvidenceCollector:
    """Collects evidence from the runs on all routes."""

    def __init__(self, controls: Iterable[MonitoredRoute] = ()) -> None:
        self._recipients: dict[str, str] = {}
        self._senders: dict[str, str] = {}
        self._books = {ability: _AbilityRecords(ability) for ability in Ability}
        self._refused: dict[str, dict[tuple[str, Party], datetime]] = {}
        proofs = {ability: records.records for ability, records in self._books.items()}
        self._evidence = Evidence(by_ability=proofs, refused=self._refused)
        self.replace_routes([*controls])

    def replace_routes(
        self, controls: Collection[MonitoredRoute], replaced: Collection[str] = (), accounts: Iterable[str] = ()
    ) -> None:
        """Replace the control routes. Without any, each mailbox of *accounts* can prove our network.

        The records of *replaced* names are reset, because they belong to other mailboxes now.
        """
        self._recipients = {r.route.sender.name: r.route.recipient.name for r in controls}
        self._senders = {recipient: sender for sender, recipient in self._recipients.items()}
        references = dict.fromkeys([*self._recipients, *self._senders])
        for records in self._books.values():
            records.replace_references(references, replaced)
        accounts = {*accounts}
        for refused in self._refused.values():
            for mailbox in [key for key in refused if key[0] not in accounts or key[0] in replaced]:
                del refused[mailbox]
        if not references:
            # Without reference mailboxes, only accounts can prove our network. Without a proof, an agency that cannot
            # be reached would never be down.
            self._books[Ability.REACH].replace_references(accounts, replaced)

    def evidence(self) -> Evidence:
        """Return the current evidence."""
        return self._evidence

    def take_changes(self) -> Sequence[ProofChange]:
        """Return the changes since the last call."""
        return [change for records in self._books.values() for change in records.changes()]

    def rewind(self, now: datetime) -> None:
        """Drop evidence later than *now*, which is from before the clock was set back.

        It would apply to all runs until the clock reaches its time.
        """
        for records in self._books.values():
            for name, record in records.records.items():
                if record.is_later_than(now):
                    records.set(name, EvidenceRecord(probation_runs=record.probation_runs))
        for refused in self._refused.values():
            for mailbox in [mailbox for mailbox, at in refused.items() if at > now]:
                del refused[mailbox]

    def is_on_probation(self, need: EvidenceNeed) -> bool:
        """Whether a reference mailbox has to pass more control runs after a failure."""
        return self._evidence.record(need).probation_runs > 0

    def record_run(self, route: MonitoredRoute, result: ProbeResult) -> None:
        """Record what a run proves about the reference mailboxes at its ends.

        Evidence has the time at which its run started. So evidence that decides about another run never describes an
        event from before that run.
        """
        self._record_connections(route, result)
        self._record_refusals(route, result)
        sender, recipient = route.route.sender.name, route.route.recipient.name
        started_at, is_control = result.started_at, route.direction is Direction.CONTROL
        senders, recipients = self._books[Ability.SEND], self._books[Ability.RECEIVE]
        if result.outcome in ARRIVED:
            self._record_delivery(senders, recipients, sender, recipient, started_at, is_control=is_control)
        elif is_control and result.outcome in IN_TRANSIT and affected_party(result.failure) is None:
            self._record_loss(senders, recipients, sender, recipient, started_at)
        elif is_control and result.failure is not None and result.outcome is not Outcome.INCONCLUSIVE:
            # The run failed at one end, and proves nothing about the other end.
            if (affected_party(result.failure) or result.failure.party) is Party.SENDER:
                _record_failure(senders, sender, started_at)
            else:
                _record_failure(recipients, recipient, started_at)
        senders, recipients = self._books[Ability.SEND_WELL], self._books[Ability.RECEIVE_WELL]
        if is_prompt(route, result):
            self._record_delivery(senders, recipients, sender, recipient, started_at, is_control=is_control)
        elif is_control and (result.outcome in ARRIVED or result.outcome in IN_TRANSIT):
            self._record_loss(senders, recipients, sender, recipient, started_at)

    def _record_refusals(self, route: MonitoredRoute, result: ProbeResult) -> None:
        """Record that a mailbox of an agency was refused by itself, or works again."""
        failure = result.failure
        refused = None if failure is None or failure.credentials_refused else affected_mailbox(route, failure)
        if refused is not None and (agency := refused.name.rpartition("/")[0]):
            key = refused.name, affected_party(failure) or Party.RECIPIENT
            self._refused.setdefault(agency, {})[key] = result.started_at
        elif result.outcome in ARRIVED and route.agency in self._refused:
            for party in Party:
                self._refused[route.agency].pop((mailbox_at(route, party).name, party), None)

    def _record_delivery(
        self,
        sends: _AbilityRecords,
        receives: _AbilityRecords,
        sender: str,
        recipient: str,
        at: datetime,
        *,
        is_control: bool,
    ) -> None:
        """Record a delivered message.

        A delivered message of an agency also proves that its reference mailbox works. If a control run of the mailbox
        failed before, and the other end of the control run has not worked since, the other end was at fault. The
        failure of the mailbox is then deleted.
        """
        for records, name, other_records, other_end in (
            (sends, sender, receives, self._recipients.get(sender, "")),
            (receives, recipient, sends, self._senders.get(recipient, "")),
        ):
            record = records.get(name) or _NO_RECORD
            failed_at = record.failed_at
            had_failed = failed_at is not None and failed_at < at
            if (
                had_failed
                and failed_at
                and not is_control
                and not (other_records.get(other_end) or _NO_RECORD).has_passed_since(failed_at)
            ):
                records.set(name, replace(record, failed_at=None, probation_runs=0, excused_at=failed_at))
            _record_success(records, name, at, is_control=is_control)

    def _record_loss(
        self, sends: _AbilityRecords, receives: _AbilityRecords, sender: str, recipient: str, at: datetime
    ) -> None:
        """Record that a message of a control run was lost, as a failure of each end that may be at fault."""
        for records, name, other_records, other_end in (
            (sends, sender, receives, recipient),
            (receives, recipient, sends, sender),
        ):
            absolved_at = records.records[name].excused_at
            if absolved_at is None or other_records.records[other_end].has_passed_since(absolved_at):
                _record_failure(records, name, at)

    def _record_connections(self, route: MonitoredRoute, result: ProbeResult) -> None:
        sender, recipient, at = route.route.sender.name, route.route.recipient.name, result.started_at
        reach = self._books[Ability.REACH]
        if Phase.AUTH in result.phases:
            _record_success(reach, sender, at)
        if result.outcome in ARRIVED or result.outcome in IN_TRANSIT:
            # The mailbox was read after the message was accepted, so it was reachable.
            _record_success(reach, recipient, at)
        elif (failure := result.failure) is not None:
            end = sender if failure.party is Party.SENDER else recipient
            if result.outcome in UNANSWERED or failed_to_connect(result):
                _record_failure(reach, end, at, probation_runs=0)
            elif (result.outcome is not Outcome.INCONCLUSIVE or failure.cause) and not _may_be_cached(failure):
                # A refusal is an answer as well.
                _record_success(reach, end, at)


def affected_mailbox(route: MonitoredRoute, failure: Failure) -> Mailbox | None:
    """Return the mailbox that alone a failure affects, by the server's answer; `None`: it may affect the service."""
    if failure.cause is RefusalCause.RECEIVING_LIMIT and route.route.to and failure.reason not in _RECIPIENT_REASONS:
        # The limit is that of the public address, which is not the mailbox at the end of the route.
        return None
    party = affected_party(failure)
    return None if party is None else mailbox_at(route, party)


def affected_party(failure: Failure | None) -> Party | None:
    """Return the end of the route whose mailbox alone a failure affects; `None`: it may affect the whole service."""
    if failure is None:
        return None
    if failure.credentials_refused:
        return failure.party
    if failure.cause is None or failure.cause not in _MAILBOX_REFUSALS:
        return None
    return _MAILBOX_REFUSALS[failure.cause] or failure.party


def mailbox_at(route: MonitoredRoute, party: Party) -> Mailbox:
    """Return the mailbox at one end of a route."""
    return route.route.sender if party is Party.SENDER else route.route.recipient


def failed_to_connect(result: ProbeResult) -> bool:
    """Whether this machine could not open a connection. False if the process was blocked meanwhile."""
    failure = result.failure
    if result.outcome is not Outcome.INCONCLUSIVE or failure is None:
        return False
    return failure.phase in CONNECTING and failure.reason != Reason.PROCESS_BLOCKED


def evidence_of(route: MonitoredRoute) -> Sequence[EvidenceNeed]:
    """Return the evidence that a control route gives when its message arrives."""
    sender, recipient = route.route.sender.name, route.route.recipient.name
    pairs = ((Ability.SEND, Ability.RECEIVE), (Ability.SEND_WELL, Ability.RECEIVE_WELL))
    needs = [need for send, receive in pairs for need in (EvidenceNeed(send, sender), EvidenceNeed(receive, recipient))]
    return [NETWORK, *needs]


def _may_be_cached(failure: Failure) -> bool:
    """Whether a refusal may be up to a minute old, so that it does not prove that our network works now.

    Neither a refused sign-in of a mailbox watcher nor a refused token request is repeated for each run.
    """
    is_refused_login = failure.credentials_refused and failure.party is Party.RECIPIENT
    return is_refused_login or failure.reason == Reason.TOKEN_REFUSED


def is_prompt(route: MonitoredRoute, result: ProbeResult) -> bool:
    """Whether the message arrived in time and in the inbox."""
    transit = result.phases.get(Phase.TRANSIT)
    is_late = transit is not None and transit > route.probing.slow_threshold
    return result.outcome is Outcome.DELIVERED and not is_late


def was_confirmed_in_time(route: MonitoredRoute, result: ProbeResult) -> bool:
    """Whether the sender's server confirmed the message in time.

    Otherwise mail programs report an error although the message arrives, and people send the message again.
    """
    duration = result.phases.get(Phase.DATA)
    return not result.uncertain and (duration is None or duration <= route.probing.timeouts.slow_data)


def _record_success(records: _AbilityRecords, name: str, at: datetime, *, is_control: bool = False) -> None:
    record = records.get(name)
    if record is None:
        return
    if record.seen_at is None or record.seen_at < at:
        record = replace(record, seen_at=at)
    if record.probation_runs and is_control and (record.failed_at is None or record.failed_at < at):
        record = replace(record, probation_runs=record.probation_runs - 1)
    if not record.probation_runs:
        record = _record_trusted_success(record, at)
    records.set(name, record)


def _record_trusted_success(record: EvidenceRecord, at: datetime) -> EvidenceRecord:
    if (
        record.failed_at is not None
        and record.failed_at < at
        and (record.regained_at is None or at < record.regained_at)
    ):
        record = replace(record, regained_at=at)
    return record if record.worked_at is not None and record.worked_at >= at else replace(record, worked_at=at)


def _record_failure(records: _AbilityRecords, name: str, at: datetime, *, probation_runs: int = PROBATION_RUNS) -> None:
    record = records.get(name)
    if record is not None and (record.failed_at is None or record.failed_at < at):
        records.set(
            name, replace(record, failed_at=at, regained_at=None, probation_runs=probation_runs, excused_at=None)
        )
