"""Evidence that our own side works: when our network and each reference mailbox last worked. No clock, no I/O.

A reference mailbox is a mailbox of ours outside of the agencies, at the other end of their routes. *Control runs*, from
one reference mailbox to another, give evidence about both mailboxes. A run between an agency and a reference mailbox
can prove that the latter works, but not that it cannot send or receive, because the agency may be at fault.
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

#: Outcomes without an authentic answer of the server: in any phase, our network may be the cause.
UNANSWERED = frozenset({Outcome.DNS, Outcome.CONNECT, Outcome.TLS, Outcome.TIMEOUT})

#: Outcomes in which the message reached its mailbox.
ARRIVED = frozenset({Outcome.DELIVERED, Outcome.JUNK})

#: Outcomes in which a server accepted the message, but it did not arrive intact: either end may be the cause.
FAILED_IN_TRANSIT = frozenset({Outcome.LOST, Outcome.BOUNCED, Outcome.CORRUPTED})

#: Refusals that affect a single mailbox, each with the end of the route at which that mailbox is; `None`: the end whose
#: server refused.
_MAILBOX_REFUSALS: Final[Mapping[RefusalCause, Party | None]] = {
    RefusalCause.ACCOUNT: None,
    RefusalCause.SESSION_LIMIT: None,
    RefusalCause.SENDING_LIMIT: Party.SENDER,
    RefusalCause.RECEIVING_LIMIT: Party.RECIPIENT,
}

#: Reasons that concern the mailbox that is searched for the message, even if the message was sent to another address.
_RECIPIENT_REASONS: Final = frozenset({Reason.COPY_RETURNED, Reason.NOT_ARRIVED})

#: Length of the *probation* of a reference mailbox after a failure: number of successful control runs until it gives
#: evidence again. Without a probation, a mailbox that loses every second message would count as working.
PROBATION_RUNS = 2


class Ability(StrEnum):
    """An ability of a reference mailbox that evidence is about."""

    #: Its servers answer, which also proves that our network works.
    REACH = "reach"
    #: A message from it arrived somewhere.
    SEND = "send"
    #: A message to it arrived.
    RECEIVE = "receive"
    #: A message from it arrived in time and in the inbox.
    SEND_PROMPTLY = "send_promptly"
    #: A message to it arrived in time and in the inbox.
    RECEIVE_PROMPTLY = "receive_promptly"

    @property
    def is_prompt(self) -> bool:
        """Whether the ability includes the arrival in time and in the inbox."""
        return self in {Ability.SEND_PROMPTLY, Ability.RECEIVE_PROMPTLY}


@dataclass(frozen=True, slots=True)
class EvidenceNeed:
    """Evidence that a pending run needs.

    A run is pending while the evidence does not show yet whether our own side caused its failure.
    """

    ability: Ability
    #: Name of the reference mailbox that must have the ability; "": any reference mailbox.
    reference: str = ""


#: Need of evidence that our network works: some reference mailbox can be reached.
NETWORK = EvidenceNeed(Ability.REACH)


@dataclass(frozen=True, slots=True, kw_only=True)
class EvidenceRecord:
    """When an ability of a reference mailbox was last proven and disproven.

    Each time is the start of a run; `None`: never.
    """

    #: Last success, even in a probation.
    succeeded_at: datetime | None = None
    #: Last success outside of a probation.
    worked_at: datetime | None = None
    #: Last failure.
    failed_at: datetime | None = None
    #: First success after the failure, outside of a probation.
    regained_at: datetime | None = None
    #: Number of successful control runs left until the probation ends.
    probation_runs: int = 0
    #: Failure that does not count, because the other end of the control run was at fault. Further losses do not count
    #: either until the other end works again.
    excused_at: datetime | None = None

    def has_worked_since(self, moment: datetime) -> bool | None:
        """Return whether the mailbox has worked, and not failed, since *moment*; `None` if no run shows it.

        The result is also `None` if *moment* is between a failure and the first success after it.
        """
        if self.failed_at is not None and self.failed_at >= moment:
            return False
        if self.worked_at is None or self.worked_at < moment:
            return None
        is_uncertain = self.failed_at is not None and self.regained_at is not None and moment < self.regained_at
        return None if is_uncertain else True

    def has_succeeded_since(self, moment: datetime) -> bool:
        """Whether there was a success since *moment*, even in a probation."""
        return self.succeeded_at is not None and self.succeeded_at >= moment

    def is_later_than(self, now: datetime) -> bool:
        """Whether any time is later than *now*."""
        times = (self.succeeded_at, self.worked_at, self.failed_at, self.regained_at, self.excused_at)
        return any(at is not None and at > now for at in times)


_NO_RECORD = EvidenceRecord()
_LONG_AGO = datetime.min.replace(tzinfo=UTC)

#: Records of one ability, by name of the reference mailbox.
Records = Mapping[str, EvidenceRecord]


@dataclass(frozen=True, slots=True, kw_only=True)
class EvidenceChange:
    """A change of the evidence for *need*, which may decide pending runs that started between *first* and *last*.

    For all other moments, `has_worked_since` returns the same as before.
    """

    need: EvidenceNeed
    first: datetime
    last: datetime


def changed_span(before: EvidenceRecord, after: EvidenceRecord) -> tuple[datetime, datetime] | None:
    """Return the first and last moment for which `has_worked_since` may differ; `None` if it never differs."""
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
        # For moments up to this failure, `has_worked_since` is false before and after the change.
        first = max(first, before.failed_at)
    return first, last


class _AbilityRecords:
    """Records of one ability of each reference mailbox, and their changes."""

    def __init__(self, ability: Ability) -> None:
        self._ability = ability
        self.records: dict[str, EvidenceRecord] = {}
        #: Earlier values of the records that changed since the last `take_changes`, by reference mailbox.
        self._before: dict[str, EvidenceRecord] = {}

    def replace_references(self, references: Iterable[str], replaced: Collection[str]) -> None:
        """Keep the records of *references*, but reset those of *replaced* names. Drop all others."""
        records_before = dict(self.records)
        # The dict is changed in place, because `Evidence` contains the same dict.
        self.records.clear()
        for reference in references:
            self.records[reference] = records_before.get(reference, EvidenceRecord())
            if reference in replaced:
                self.set(reference, EvidenceRecord())
        for removed in records_before.keys() - self.records.keys():
            self._before.pop(removed, None)

    def get(self, reference: str) -> EvidenceRecord | None:
        return self.records.get(reference)

    def set(self, reference: str, record: EvidenceRecord) -> None:
        before = self.records[reference]
        if record is not before:
            self._before.setdefault(reference, before)
            self.records[reference] = record

    def take_changes(self) -> Iterator[EvidenceChange]:
        """Yield the changes since the last call."""
        for reference, before in self._before.items():
            if (span := changed_span(before, self.records[reference])) is not None:
                need = NETWORK if self._ability is Ability.REACH else EvidenceNeed(self._ability, reference)
                yield EvidenceChange(need=need, first=span[0], last=span[1])
        self._before.clear()


@dataclass(frozen=True, slots=True, kw_only=True)
class Evidence:
    """Evidence about our own side, by ability."""

    by_ability: Mapping[Ability, Records] = field(default_factory=dict)
    #: Mailboxes of agencies that a server refused for a reason that affects only the mailbox, and that have not worked
    #: since. By agency, then by mailbox and end of the route: the start of the latest refused run.
    refused: Mapping[str, Mapping[tuple[str, Party], datetime]] = field(default_factory=dict)

    def records(self, ability: Ability) -> Records:
        """Return the records of one ability."""
        return self.by_ability.get(ability, {})

    def record(self, need: EvidenceNeed) -> EvidenceRecord:
        """Return the record of the needed ability; an empty record if there is none."""
        return self.records(need.ability).get(need.reference, _NO_RECORD)

    def has_other_refusal(self, mailbox: str, since: datetime) -> bool:
        """Return whether another mailbox of the same agency was refused since *since*."""
        # The name of an agency's mailbox is "CODE/key".
        refused = self.refused.get(mailbox.rpartition("/")[0], {})
        return any(at >= since for (other, _), at in refused.items() if other != mailbox)

    def has_network_worked_since(self, moment: datetime) -> bool | None:
        """Return whether our network has worked since *moment*; `None` if no run shows it.

        One reachable reference mailbox is enough.
        """
        answers = [record.has_worked_since(moment) for record in self.records(Ability.REACH).values()]
        if any(answers):
            return True
        return False if answers and all(answer is False for answer in answers) else None


class EvidenceCollector:
    """Collects evidence from the runs on all routes."""

    def __init__(self, controls: Iterable[MonitoredRoute] = ()) -> None:
        #: Recipient of each control route by its sender, and the reverse.
        self._recipients: dict[str, str] = {}
        self._senders: dict[str, str] = {}
        self._records = {ability: _AbilityRecords(ability) for ability in Ability}
        self._refused: dict[str, dict[tuple[str, Party], datetime]] = {}
        by_ability = {ability: records.records for ability, records in self._records.items()}
        #: A view of the dicts that this class changes in place.
        self._evidence = Evidence(by_ability=by_ability, refused=self._refused)
        self.replace_routes([*controls])

    def replace_routes(
        self, controls: Collection[MonitoredRoute], replaced: Collection[str] = (), accounts: Iterable[str] = ()
    ) -> None:
        """Replace the control routes. Without control routes, each mailbox of *accounts* can prove our network.

        The records of *replaced* names are reset, because these names now belong to other mailboxes.
        """
        self._recipients = {r.route.sender.name: r.route.recipient.name for r in controls}
        self._senders = {recipient: sender for sender, recipient in self._recipients.items()}
        references = dict.fromkeys([*self._recipients, *self._senders])
        for records in self._records.values():
            records.replace_references(references, replaced)
        accounts = {*accounts}
        for refused in self._refused.values():
            removed = [(name, party) for name, party in refused if name not in accounts or name in replaced]
            for mailbox_and_party in removed:
                del refused[mailbox_and_party]
        if not references:
            # Without reference mailboxes, only the agencies' own mailboxes can prove our network. Without a proof, an
            # agency that cannot be reached would never be down.
            self._records[Ability.REACH].replace_references(accounts, replaced)

    def evidence(self) -> Evidence:
        """Return the evidence, which this object updates in place."""
        return self._evidence

    def take_changes(self) -> Sequence[EvidenceChange]:
        """Return the changes since the last call."""
        return [change for records in self._records.values() for change in records.take_changes()]

    def rewind(self, now: datetime) -> None:
        """Drop evidence later than *now*, which is from before the clock was set back.

        Otherwise it would decide about all runs until the clock reaches its time.
        """
        for records in self._records.values():
            for name, record in records.records.items():
                if record.is_later_than(now):
                    records.set(name, EvidenceRecord(probation_runs=record.probation_runs))
        for refused in self._refused.values():
            for mailbox_and_party in [key for key, at in refused.items() if at > now]:
                del refused[mailbox_and_party]

    def is_on_probation(self, need: EvidenceNeed) -> bool:
        """Whether a reference mailbox needs more successful control runs after a failure before it gives evidence."""
        return self._evidence.record(need).probation_runs > 0

    def record_run(self, route: MonitoredRoute, result: ProbeResult) -> None:
        """Record what a run proves about the reference mailboxes at its ends.

        The time of evidence is the start of the run that gives it. So evidence with a time after the start of another
        run is never about an event before that other run.
        """
        self._record_connections(route, result)
        self._record_refusals(route, result)
        sender, recipient = route.route.sender.name, route.route.recipient.name
        started_at, is_control = result.started_at, route.direction is Direction.CONTROL
        send_records, receive_records = self._records[Ability.SEND], self._records[Ability.RECEIVE]
        if result.outcome in ARRIVED:
            self._record_delivery(send_records, receive_records, sender, recipient, started_at, is_control=is_control)
        elif is_control and result.outcome in FAILED_IN_TRANSIT and affected_party(result.failure) is None:
            self._record_loss(send_records, receive_records, sender, recipient, started_at)
        elif is_control and result.failure is not None and result.outcome is not Outcome.INCONCLUSIVE:
            # The run failed at one end, and proves nothing about the other end.
            if (affected_party(result.failure) or result.failure.party) is Party.SENDER:
                _record_failure(send_records, sender, started_at)
            else:
                _record_failure(receive_records, recipient, started_at)
        # From here on, the message must also be in time and in the inbox.
        send_records, receive_records = self._records[Ability.SEND_PROMPTLY], self._records[Ability.RECEIVE_PROMPTLY]
        if is_prompt(route, result):
            self._record_delivery(send_records, receive_records, sender, recipient, started_at, is_control=is_control)
        elif is_control and (result.outcome in ARRIVED or result.outcome in FAILED_IN_TRANSIT):
            self._record_loss(send_records, receive_records, sender, recipient, started_at)

    def _record_refusals(self, route: MonitoredRoute, result: ProbeResult) -> None:
        """Record that a failure affects only one mailbox of an agency, or that the mailbox works again."""
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
        send_records: _AbilityRecords,
        receive_records: _AbilityRecords,
        sender: str,
        recipient: str,
        at: datetime,
        *,
        is_control: bool,
    ) -> None:
        """Record a delivered message.

        A delivered message on an agency's route proves that the reference mailbox on this route works. If a control run
        with this mailbox failed before, and the other end of the control run has not worked since, the other end was at
        fault. Then the failure of this mailbox is deleted.
        """
        for records, name, other_records, other_end in (
            (send_records, sender, receive_records, self._recipients.get(sender, "")),
            (receive_records, recipient, send_records, self._senders.get(recipient, "")),
        ):
            record = records.get(name) or _NO_RECORD
            failed_at = record.failed_at
            if failed_at is not None and failed_at < at and not is_control:
                other_record = other_records.get(other_end) or _NO_RECORD
                if not other_record.has_succeeded_since(failed_at):
                    records.set(name, replace(record, failed_at=None, probation_runs=0, excused_at=failed_at))
            _record_success(records, name, at, is_control=is_control)

    def _record_loss(
        self,
        send_records: _AbilityRecords,
        receive_records: _AbilityRecords,
        sender: str,
        recipient: str,
        at: datetime,
    ) -> None:
        """Record that a message of a control run was lost or late, as a failure of each end that may be at fault."""
        for records, name, other_records, other_end in (
            (send_records, sender, receive_records, recipient),
            (receive_records, recipient, send_records, sender),
        ):
            excused_at = records.records[name].excused_at
            if excused_at is None or other_records.records[other_end].has_succeeded_since(excused_at):
                _record_failure(records, name, at)

    def _record_connections(self, route: MonitoredRoute, result: ProbeResult) -> None:
        """Record which mailboxes were reached, and which were not."""
        sender, recipient, at = route.route.sender.name, route.route.recipient.name, result.started_at
        reach = self._records[Ability.REACH]
        if Phase.AUTH in result.phases:
            _record_success(reach, sender, at)
        if result.outcome in ARRIVED or result.outcome in FAILED_IN_TRANSIT:
            # The mailbox was read after the message was accepted, so it was reachable.
            _record_success(reach, recipient, at)
        elif (failure := result.failure) is not None:
            end = sender if failure.party is Party.SENDER else recipient
            if result.outcome in UNANSWERED or failed_to_connect(result):
                _record_failure(reach, end, at, probation_runs=0)
            elif (result.outcome is not Outcome.INCONCLUSIVE or failure.cause) and not _may_be_cached(failure):
                # A refusal is an answer, so the server was reached. An inconclusive run with a `cause` was refused.
                _record_success(reach, end, at)


def affected_mailbox(route: MonitoredRoute, failure: Failure) -> Mailbox | None:
    """Return the only mailbox that a failure affects, by the server's answer; `None`: it may affect others, too."""
    if failure.cause is RefusalCause.RECEIVING_LIMIT and route.route.to and failure.reason not in _RECIPIENT_REASONS:
        # The message was sent to a public address, which has reached its limit. It is not the mailbox of the route.
        return None
    party = affected_party(failure)
    return None if party is None else mailbox_at(route, party)


def affected_party(failure: Failure | None) -> Party | None:
    """Return the end of the route if a failure affects only its mailbox; `None`: it may affect the whole service."""
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
    """Whether the run is inconclusive because this machine could not connect; false if only the process was blocked."""
    failure = result.failure
    if result.outcome is not Outcome.INCONCLUSIVE or failure is None:
        return False
    return failure.phase in CONNECTING and failure.reason != Reason.PROCESS_BLOCKED


def evidence_of(route: MonitoredRoute) -> Sequence[EvidenceNeed]:
    """Return the evidence that a control route gives when its message arrives."""
    sender, recipient = route.route.sender.name, route.route.recipient.name
    pairs = ((Ability.SEND, Ability.RECEIVE), (Ability.SEND_PROMPTLY, Ability.RECEIVE_PROMPTLY))
    needs = [need for send, receive in pairs for need in (EvidenceNeed(send, sender), EvidenceNeed(receive, recipient))]
    return [NETWORK, *needs]


def _may_be_cached(failure: Failure) -> bool:
    """Whether a refusal may be up to a minute old, so that it does not prove that our network works now.

    A refused sign-in for reading a mailbox and a refused request for an OAuth token are not repeated for each run.
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

    Without a confirmation, mail programs report an error although the message arrives, and people send it again.
    """
    duration = result.phases.get(Phase.DATA)
    return not result.uncertain and (duration is None or duration <= route.probing.timeouts.slow_data)


def _record_success(records: _AbilityRecords, name: str, at: datetime, *, is_control: bool = False) -> None:
    record = records.get(name)
    if record is None:
        return
    if record.succeeded_at is None or record.succeeded_at < at:
        record = replace(record, succeeded_at=at)
    if record.probation_runs and is_control and (record.failed_at is None or record.failed_at < at):
        record = replace(record, probation_runs=record.probation_runs - 1)
    if not record.probation_runs:
        record = _record_trusted_success(record, at)
    records.set(name, record)


def _record_trusted_success(record: EvidenceRecord, at: datetime) -> EvidenceRecord:
    """Return the record after a success outside of a probation."""
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
