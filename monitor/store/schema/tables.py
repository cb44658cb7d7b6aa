"""The tables. Names are the words of the design; what must happen once has a unique key.

Migrations under `migrations/` create them; a test compares the two.
"""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

from sqlalchemy import (
    JSON,
    BigInteger,
    Boolean,
    Column,
    Date,
    DateTime,
    Dialect,
    Float,
    ForeignKey,
    Index,
    Integer,
    MetaData,
    String,
    Table,
    Text,
    TypeDecorator,
    UniqueConstraint,
    false,
    text,
)
from sqlalchemy.types import TypeEngine

from alerts.persistence.audit import CHECKPOINT

metadata = MetaData(
    naming_convention={
        "ix": "ix_%(table_name)s_%(column_0_N_name)s",
        "uq": "uq_%(table_name)s_%(column_0_N_name)s",
        "fk": "fk_%(table_name)s_%(column_0_N_name)s",
        "pk": "pk_%(table_name)s",
    }
)


class Moment(TypeDecorator[datetime]):
    """An aware UTC datetime. SQLite forgets zones, so one is put back on the way out."""

    impl = DateTime(timezone=True)
    cache_ok = True

    def process_bind_param(self, value: datetime | None, dialect: Dialect) -> datetime | None:  # noqa: ARG002
        """Refuse what has no zone: it would be a guess."""
        if value is None:
            return None
        if value.tzinfo is None:
            raise ValueError(f"{value} has no time zone")
        return value.astimezone(UTC)

    def process_result_value(self, value: datetime | None, dialect: Dialect) -> datetime | None:  # noqa: ARG002
        """Return it aware."""
        return None if value is None else value.replace(tzinfo=UTC) if value.tzinfo is None else value.astimezone(UTC)


def clean(text: str, length: int | None = None) -> str:
    """Return what a database can keep of what somebody outside has said: PostgreSQL has no NUL, and minds lengths."""
    return text.replace("\0", "")[:length]


def _only(rows: str) -> dict[str, Any]:
    """Return what lets an index have these rows only, in both databases."""
    return {"sqlite_where": text(rows), "postgresql_where": text(rows)}


def _id() -> Column[int]:
    return Column("id", Integer, primary_key=True, autoincrement=True)


#: What is configured, as applied from files (later also from the portal), with where it came from.
record = Table(
    "record",
    metadata,
    Column("kind", String(32), primary_key=True),
    Column("key", String(64), primary_key=True),
    Column("document", Text, nullable=False),
    Column("source", Text, nullable=False),
    Column("applied_at", Moment, nullable=False),
)

#: Every version of every agency's document (`monitor.model.document`).
document = Table(
    "document",
    metadata,
    Column("agency", String(64), primary_key=True),
    Column("number", Integer, primary_key=True, autoincrement=False),
    Column("name", String(255), nullable=False),
    #: NULL: by this version the agency is watched no more.
    Column("text", Text),
    Column("pen", String(16), nullable=False),
    Column("written_by", String(200), nullable=False),
    Column("written_at", Moment, nullable=False),
    #: NULL: the latest one.
    Column("replaced_at", Moment),
    Index("uq_document_latest", "agency", unique=True, **_only("replaced_at IS NULL")),
)

#: At a site: what its hub has written for it, an agency a row, until the site has looked at it (`monitor.model.desired_document`).
offered_document = Table(
    "offered_document",
    metadata,
    Column("agency", String(64), primary_key=True),
    Column("name", String(255), nullable=False),
    #: NULL: the agency is to be watched no more.
    Column("text", Text),
    #: What the hub is called.
    Column("offered_by", String(200), nullable=False),
    Column("offered_at", Moment, nullable=False),
    #: NULL: the site has not looked at it.
    Column("looked_at", Moment),
    #: Why the site has not taken it up; NULL: it has, or has not looked at it.
    Column("refusal", Text),
)

#: Counted in days and not in years where there are ten thousand routes: more than fit 32 bits.
_Many = BigInteger().with_variant(Integer(), "sqlite")


def _ends_of_runs(ids: TypeEngine[int]) -> tuple[Column[Any], ...]:
    return (
        Column("id", ids, primary_key=True, autoincrement=True),
        Column("agency", String(64), nullable=False),
        Column("route", String(200), nullable=False),
        Column("token_id", String(32), nullable=False),
        Column("started_at", Moment, nullable=False),
        Column("duration", Float, nullable=False),
        Column("outcome", String(16), nullable=False),
        #: As JSON, what the other columns do not say.
        Column("result", Text, nullable=False),
    )


#: Ends of probe runs. Those that delivered are kept for a month, the others for a year (`keep_results`).
run = Table(
    "run",
    metadata,
    *_ends_of_runs(_Many),
    Index("ix_run_of_route", "agency", "route", "started_at"),
    Index("ix_run_of_outcome", "outcome", "started_at"),
)

#: Ends of runs from before they were counted by the hour. They are moved into `run` bit by bit, and then it is empty: an
#: index on a hundred million rows would be made for an hour, and nothing be probed meanwhile.
run_before = Table(
    "run_before",
    metadata,
    *_ends_of_runs(Integer()),
    Index("ix_run_route_started_at", "route", "started_at"),
    Index("ix_run_token_id", "token_id"),
    Index("ix_run_started_at", "started_at"),
)


def _counts() -> tuple[Column[Any], ...]:
    return (
        Column("runs", Integer, nullable=False),
        #: In which minutes they began: bit 0 is the first. Where no bit is set for longer than `every`, nobody watched.
        Column("minutes", BigInteger, nullable=False),
        #: The interval at which the route was probed, in seconds; 0: that is not known.
        Column("every", Integer, nullable=False),
        #: Seconds from the beginning of a run to its end: of all together, and of the longest.
        Column("duration", Float, nullable=False),
        Column("longest", Float, nullable=False),
        #: Seconds that the messages were on their way, where that is known: of all together, and of the slowest.
        Column("transit", Float, nullable=False),
        Column("slowest", Float, nullable=False),
    )


#: The runs of a route that began in one hour and ended alike, counted: what is left of them when they are deleted.
hour = Table(
    "hour",
    metadata,
    Column("agency", String(64), primary_key=True),
    Column("route", String(200), primary_key=True),
    #: When the hour begins.
    Column("begins", Moment, primary_key=True),
    Column("outcome", String(16), primary_key=True),
    #: How they were judged when they ended (`monitor.model.health.Grade`); "": that is not known.
    Column("grade", String(8), primary_key=True),
    *_counts(),
    Index("ix_hour_begins", "begins"),
    sqlite_with_rowid=False,
)

#: How an agency's mail stood in each minute of a day in Malaysia (`monitor.model.day`).
day = Table(
    "day",
    metadata,
    Column("agency", String(64), primary_key=True),
    Column("date", Date, primary_key=True),
    #: "-480w615s30": each state with how many minutes it lasted. Whoever writes adds to what is there.
    Column("minutes", Text, nullable=False),
    Index("ix_day_date", "date"),
    sqlite_with_rowid=False,
)

#: Tokens that were sent: what is late, doubled or forged is known also after a restart.
token = Table(
    "token",
    metadata,
    Column("id", String(32), primary_key=True),
    Column("route", String(200), nullable=False),
    Column("sent_at", Moment, nullable=False),
    Column("deadline", Moment, nullable=False),
    #: When its mail was there, in time or late.
    Column("came_at", Moment),
    #: Few have not come, and those are looked for after every restart. They are kept for longer than the others.
    Index("ix_token_missing", "sent_at", **_only("came_at IS NULL")),
    Index("ix_token_came", "sent_at", **_only("came_at IS NOT NULL")),
)

#: How each route and each suspect of our own was last judged.
health = Table(
    "health",
    metadata,
    Column("subject", String(200), primary_key=True),
    Column("health", String(16), nullable=False),
    Column("since", Moment, nullable=False),
)

#: The latest runs of a route that contradict how it is judged: a restart must not forget that it has failed twice.
streak = Table(
    "streak",
    metadata,
    Column("subject", String(200), primary_key=True),
    #: JSON, the oldest first (`monitor.evaluation.health_tracker.GradedRun`); [] where nothing contradicts.
    Column("runs", Text, nullable=False),
)

#: How a site judges an agency, or something of its own: a level, which says all that is to be known of it
#: (`monitor.evaluation.joint.site_status`). On PostgreSQL each other site has a partition, into which nobody else's can be written;
#: the rows of all others are in `rest_of_standing`.
standing = Table(
    "standing",
    metadata,
    Column("site", String(64), primary_key=True),
    #: As an incident's `dedup_key`.
    Column("subject", String(200), primary_key=True),
    #: What is wrong; NULL: nothing is, or it is not known. Only then `since` is NULL.
    Column("matter", String(16)),
    Column("cause", String(16)),
    Column("since", Moment),
    Column("latest", Moment),
    Column("unsteady", Boolean, nullable=False),
    #: NULL beside a `matter` that is, too: not clear.
    Column("well_since", Moment),
    #: JSON: the health of each direction that is probed.
    Column("directions", Text, nullable=False),
    #: JSON: the routes that are in trouble.
    Column("troubled", Text, nullable=False),
    sqlite_with_rowid=False,
    postgresql_partition_by="LIST (site)",
)

#: That a site lives, in order behind all that it has said before. Partitioned as `standing`.
beat = Table(
    "beat",
    metadata,
    Column("site", String(64), primary_key=True),
    #: By the site's clock.
    Column("at", Moment, nullable=False),
    #: By the steady clock of the process that beat, in microseconds; and which life of it that was (`freshness.SiteHeartbeat`).
    Column("steady", BigInteger, nullable=False),
    Column("life", String(64), nullable=False),
    sqlite_with_rowid=False,
    postgresql_partition_by="LIST (site)",
)

#: Runs of other sites that did not deliver, as they have told them (`monitor.store.probing.site_runs`); at a site, what it has
#: told of its own. Partitioned as `standing`. What is told twice is there twice: on a server nothing holds it up, no key either.
site_run = Table(
    "site_run",
    metadata,
    Column("site", String(64), primary_key=True),
    Column("agency", String(64), primary_key=True),
    Column("started_at", Moment, primary_key=True),
    Column("token_id", String(32), primary_key=True),
    Column("told_at", Moment, primary_key=True),
    Column("route", String(200), nullable=False),
    Column("duration", Float, nullable=False),
    Column("outcome", String(16), nullable=False),
    Column("result", Text, nullable=False),
    Index("ix_site_run_of_agency", "site", "agency", "started_at"),
    Index("ix_site_run_started_at", "started_at"),
    sqlite_with_rowid=False,
    postgresql_partition_by="LIST (site)",
)

#: Hours of other sites, as `hour` and told as `site_run`: of an hour that was told twice the later counts.
site_hour = Table(
    "site_hour",
    metadata,
    Column("site", String(64), primary_key=True),
    Column("agency", String(64), primary_key=True),
    Column("begins", Moment, primary_key=True),
    Column("route", String(200), primary_key=True),
    Column("outcome", String(16), primary_key=True),
    Column("grade", String(8), primary_key=True),
    Column("told_at", Moment, primary_key=True),
    *_counts(),
    Index("ix_site_hour_of_agency", "site", "agency", "begins"),
    Index("ix_site_hour_begins", "begins"),
    sqlite_with_rowid=False,
    postgresql_partition_by="LIST (site)",
)

incident = Table(
    "incident",
    metadata,
    _id(),
    Column("dedup_key", String(200), nullable=False),
    Column("number", String(32), nullable=False, unique=True),
    Column("agency", String(64), nullable=False),
    Column("matter", String(16), nullable=False),
    Column("state", String(16), nullable=False),
    Column("brief", Text, nullable=False),
    Column("began_at", Moment, nullable=False),
    Column("opened_at", Moment, nullable=False),
    Column("since", Moment, nullable=False),
    #: What is wrong now, and since when; empty: as it opened, before this was written down.
    Column("present", String(16)),
    Column("present_since", Moment),
    #: When what it is about began, what is wrong now, and the first outage in it; empty: with the incident.
    Column("matter_began_at", Moment),
    Column("present_began_at", Moment),
    Column("outage_began_at", Moment),
    Column("wave", Integer, nullable=False),
    Column("round", Integer, nullable=False),
    Column("step", Integer, nullable=False),
    Column("step_since", Moment, nullable=False),
    Column("acknowledged_at", Moment),
    Column("acknowledged_by", String(200)),
    #: When whoever has taken it on was last heard of, and reminded that this expires; and who it was when it had.
    Column("heard_at", Moment),
    Column("reminded_at", Moment),
    Column("had_by", String(200)),
    #: Whether that person handed it on.
    Column("handed_on", Boolean, nullable=False, server_default=false()),
    Column("released_at", Moment),
    Column("released_by", String(200)),
    Column("resolved_at", Moment),
    Column("ended_at", Moment),
    #: When a person declared it a false alarm.
    Column("corrected_at", Moment),
    Column("corrected_by", String(200)),
    Column("corrected_why", Text),
    #: It went up and down again and again before it opened.
    Column("unsteady", Boolean, nullable=False, server_default=false()),
    #: What was last measured to be wrong; nothing: it is open by a person's word alone.
    Column("measured", String(16)),
    #: By whose word it is an outage, or was.
    Column("declared_matter", String(16)),
    Column("declared_at", Moment),
    Column("declared_by", String(200)),
    Column("declared_why", Text),
    Column("declared_over_at", Moment),
    Column("declared_over_by", String(200)),
    #: By whose word it ended, if by anybody's, and whether they said that mail works again.
    Column("closed_at", Moment),
    Column("closed_by", String(200)),
    Column("closed_why", Text),
    Column("closed_recovered", Boolean),
    #: After which enclosure its pages go on, because the store was an older copy; 0: it was not.
    Column("pages_left_out", Integer, nullable=False, server_default=text("0")),
    #: Nothing more is owed to anybody about it.
    Column("at_rest", Boolean, nullable=False, default=False),
    #: The engine that brings it forward, and until when nobody else may. Where one engine is alone, its own.
    Column("owner", String(200)),
    Column("owned_until", Moment),
    #: Another engine has something new about it for the owner to look at.
    Column("nudged", Boolean, nullable=False, server_default=false()),
    #: One open incident about a thing, whatever two processes may decide at the same time.
    Index("uq_incident_open", "dedup_key", unique=True, **_only("resolved_at IS NULL")),
    #: Few are active, and all that are over are none of what the cycle asks for.
    Index("ix_incident_active", "id", sqlite_where=text("at_rest IS 0"), postgresql_where=text("at_rest IS false")),
    Index("ix_incident_nudged", "owner", sqlite_where=text("nudged = 1"), postgresql_where=text("nudged")),
    Index("ix_incident_dedup_key", "dedup_key"),
    Index("ix_incident_opened_at", "opened_at"),
    Index("ix_incident_resolved_at", "resolved_at"),
)

notice = Table(
    "notice",
    metadata,
    _id(),
    #: (incident, plan, step, round, purpose, person) in one string: deciding twice writes once.
    Column("key", String(300), nullable=False, unique=True),
    Column("plan", String(16), nullable=False),
    Column("purpose", String(16), nullable=False),
    Column("person", String(64), nullable=False),
    Column("language", String(8), nullable=False),
    Column("facts", Text, nullable=False),
    Column("addresses", Text, nullable=False),
    Column("addressee", Text),
    Column("wave", Integer, nullable=False),
    Column("round", Integer, nullable=False),
    Column("step", Integer, nullable=False),
    Column("state", String(16), nullable=False),
    Column("urgency", String(16), nullable=False, server_default="first"),
    #: What it may be bundled with (`alerts.decide.bundle`).
    Column("gathering", String(120)),
    #: It is gathering more, or a brake holds it.
    Column("not_before", Moment),
    Column("created_at", Moment, nullable=False),
    Column("expires_at", Moment, nullable=False),
    Index("ix_notice_state", "state"),
    Index("ix_notice_gathering_created_at", "gathering", "created_at"),
)

#: A notice tells of one incident or, when many fail at once, of several.
notice_incident = Table(
    "notice_incident",
    metadata,
    Column("notice_id", ForeignKey("notice.id"), primary_key=True),
    Column("incident_id", ForeignKey("incident.id"), primary_key=True),
    #: Of the decision that put the incident in: deciding twice writes once, bundle or not.
    Column("key", String(300), nullable=False, unique=True),
    #: What this incident's plan calls whom it is told to: another agency may use the name for somebody else.
    Column("person", String(64), nullable=False),
    Column("facts", Text, nullable=False),
    Column("wave", Integer, nullable=False),
    Column("round", Integer, nullable=False),
    Column("step", Integer, nullable=False),
    #: When it was acknowledged or over before the notice left: it is not told of it.
    Column("left_at", Moment),
    Index("ix_notice_incident_incident_id", "incident_id"),
)

#: Whom nobody is to be told about for a while.
silence = Table(
    "silence",
    metadata,
    _id(),
    #: An incident's dedup key: an agency's code, or "ours/...".
    Column("about", String(200), nullable=False),
    Column("begins", Moment, nullable=False),
    #: No longer part of it; one that was removed ended then.
    Column("ends", Moment, nullable=False),
    Column("why", Text, nullable=False),
    Column("by", String(200), nullable=False),
    Index("ix_silence_ends", "ends"),
)

delivery = Table(
    "delivery",
    metadata,
    _id(),
    Column("notice_id", ForeignKey("notice.id"), nullable=False),
    Column("channel", String(8), nullable=False),
    Column("number", String(200), nullable=False),
    Column("extension", String(32), nullable=False),
    UniqueConstraint("notice_id", "channel", "number", "extension"),
    Index("ix_delivery_number", "number"),
)

attempt = Table(
    "attempt",
    metadata,
    _id(),
    Column("delivery_id", ForeignKey("delivery.id"), nullable=False),
    Column("n", Integer, nullable=False),
    Column("reference", String(64), nullable=False, unique=True),
    Column("gateway", String(64), nullable=False),
    Column("state", String(16), nullable=False),
    #: Rank of the state: a late callback never goes back.
    Column("rank", Integer, nullable=False),
    Column("started_at", Moment, nullable=False),
    Column("look_at", Moment, nullable=False),
    Column("asked", Integer, nullable=False),
    Column("provider_id", String(200)),
    Column("error", String(16)),
    Column("code", String(64), nullable=False),
    Column("detail", Text, nullable=False),
    Column("ended_at", Moment),
    #: The response code that its SMS holds; empty for what nobody answers by SMS.
    Column("response", String(8), nullable=False, server_default=text("''")),
    UniqueConstraint("delivery_id", "n"),
    Index("ix_attempt_started_at", "started_at"),
    Index("ix_attempt_state_look_at", "state", "look_at"),
    Index("ix_attempt_gateway_started_at", "gateway", "state", "started_at"),
)

#: What a clerk has done with a letter: printed and posted it, each once. Who says so first is written down.
letter_handling = Table(
    "letter_handling",
    metadata,
    Column("attempt_id", ForeignKey("attempt.id"), primary_key=True),
    Column("step", String(16), primary_key=True),
    Column("at", Moment, nullable=False),
    Column("by", String(200), nullable=False),
    #: On which it was posted, where that was said.
    Column("day", Date),
)

#: Which short code tells, on a person's phone, which notice their SMS is about.
response_code = Table(
    "response_code",
    metadata,
    _id(),
    Column("number", String(32), nullable=False),
    Column("code", Integer, nullable=False),
    #: The incidents, each with whether it is an outage: the same trouble has the same code on a phone, however often it is told
    #: there.
    Column("about", String(200), nullable=False),
    #: The notice that told of it last.
    Column("notice_id", ForeignKey("notice.id"), nullable=False),
    Column("given_at", Moment, nullable=False),
    UniqueConstraint("number", "about"),
    Index("ix_response_code_notice_id", "notice_id"),
)

#: What is known of a number that SMS came from.
sms_number = Table(
    "sms_number",
    metadata,
    Column("number", String(32), primary_key=True),
    #: Its owner has asked for no more SMS.
    Column("stopped_at", Moment),
    #: Answers to SMS that did nothing, since one from it last did something.
    Column("puzzled", Integer, nullable=False),
)

#: PINs typed in calls, right and wrong. The digits are not here.
pin_entry = Table(
    "pin_entry",
    metadata,
    _id(),
    #: Of the attempt, that is, of the call.
    Column("reference", String(64), nullable=False),
    Column("agency", String(64), nullable=False),
    Column("person", String(64), nullable=False),
    Column("at", Moment, nullable=False),
    Column("proven", Boolean, nullable=False),
    Index("ix_pin_entry_person_at", "person", "at"),
)

#: Callbacks already heard; providers repeat them.
heard = Table(
    "heard",
    metadata,
    Column("gateway", String(64), primary_key=True),
    Column("event_id", String(200), primary_key=True),
    Column("at", Moment, nullable=False),
)

#: The latest that is known of each alert of the NOC's own monitoring, by the fingerprint of its labels.
alert = Table(
    "alert",
    metadata,
    Column("fingerprint", String(16), primary_key=True),
    #: When it last began: with the fingerprint, which alert it is.
    Column("starts_at", Moment, nullable=False),
    #: Nothing: it fires.
    Column("ended_at", Moment),
    #: When that was heard, or heard again.
    Column("heard_at", Moment, nullable=False),
    #: The dedup key of the incident that it shares; nothing: it has its own.
    Column("folded_into", String(200)),
    Index("ix_alert_heard_at", "heard_at"),
    Index("ix_alert_folded_into", "folded_into", **_only("folded_into IS NOT NULL")),
)

#: The next number of an agency's incidents.
counter = Table(
    "counter",
    metadata,
    Column("name", String(64), primary_key=True),
    Column("next", Integer, nullable=False),
)

#: What was decided, sent, received, and by whom: a chain of hashes (`alerts.persistence.audit`). Only ever added to;
#: triggers in the database see to it. A migration that copies this table (batch mode on SQLite) loses them and must
#: make them again.
journal = Table(
    "journal",
    metadata,
    #: The entry's number in the chain, without gaps.
    Column("id", Integer, primary_key=True, autoincrement=False),
    Column("at", Moment, nullable=False),
    Column("actor", String(200), nullable=False),
    Column("event", String(200), nullable=False),
    Column("incident_id", Integer),
    Column("notice_id", Integer),
    Column("detail", JSON, nullable=False),
    #: Hash of the entry before. Unique: the chain cannot fork.
    Column("previous", String(64), nullable=False, unique=True),
    #: Hash of what the entry says, and of that together with `previous`.
    Column("content", String(64), nullable=False),
    Column("hash", String(64), nullable=False),
    #: The entry that tells of the purge which took this one's content away.
    Column("purged_by", Integer),
    #: Only entries that are about one: SQLite would go by these for those that are about none.
    Index("ix_journal_incident_id", "incident_id", **_only("incident_id IS NOT NULL")),
    Index("ix_journal_notice_id", "notice_id", **_only("notice_id IS NOT NULL")),
    #: What somebody did, and where something happened, the newest first.
    Index("ix_journal_actor", "actor", "id"),
    Index("ix_journal_event", "event", "id"),
    Index("ix_journal_checkpoint", "id", **_only(f"event = '{CHECKPOINT}'")),
    #: What a purge takes by its time: entries about no incident that have not been emptied. Few are.
    Index("ix_journal_about_none", "at", **_only("incident_id IS NULL AND notice_id IS NULL AND purged_by IS NULL")),
)

#: The journal's last entry. One row, locked by whoever adds to the journal.
journal_head = Table(
    "journal_head",
    metadata,
    Column("id", Integer, primary_key=True, autoincrement=False),
    Column("number", Integer, nullable=False),
    Column("hash", String(64), nullable=False),
)

#: When the store was, or may have been, an older copy of itself. Until one is confirmed, paper waits.
restoration = Table(
    "restoration",
    metadata,
    _id(),
    Column("how", String(16), nullable=False),
    Column("noticed_at", Moment, nullable=False),
    #: The last that the store knew.
    Column("since", Moment),
    #: Who put it back; empty: it was noticed.
    Column("by", String(200), nullable=False),
    #: After which numbers and pages it goes on, as that person said.
    Column("numbers", JSON, nullable=False),
    Column("pages", JSON, nullable=False),
    #: The numbers that are not given; NULL: that has still to be found out.
    Column("left_out", JSON(none_as_null=True)),
    Column("confirmed_at", Moment),
    Column("confirmed_by", String(200), nullable=False),
    Column("why", Text, nullable=False),
)

#: Which processes work on this store, and when each was last able to write into it.
process = Table(
    "process",
    metadata,
    Column("name", String(64), primary_key=True),
    Column("started_at", Moment, nullable=False),
    Column("beat_at", Moment, nullable=False),
    #: When it ended as it was told to; one that was killed never says so.
    Column("stopped_at", Moment),
    #: By which versions of the agencies' documents it goes (`Documents.level`); NULL: by files, or that is not known.
    Column("documents", BigInteger),
    #: The agencies of which it has documents, as JSON, and by what others see that they are others; NULL: it has not said so.
    Column("agencies", Text),
    Column("agencies_digest", String(64)),
    #: Since when the site has judged without a silence; NULL: as far back as is known.
    Column("continuous_since", Moment),
)

#: When somebody last asked for all routes of an agency to be run at once. A hub writes that into the stores of its sites.
probe_call = Table(
    "probe_call",
    metadata,
    Column("agency", String(64), primary_key=True),
    Column("called_at", Moment, nullable=False),
)

#: A drill: one pass over contacts and gateways.
drill = Table(
    "drill",
    metadata,
    _id(),
    #: What it was begun by: two processes that see the same hour begin it once.
    Column("key", String(64), nullable=False, unique=True),
    #: What its notices are numbered with.
    Column("number", String(32), nullable=False),
    Column("asked_by", String(200), nullable=False),
    #: Whom it is for: a contact's key, or "all".
    Column("contact", String(64), nullable=False),
    Column("begins_at", Moment, nullable=False),
    #: What has not been tried by then is not tried any more.
    Column("ends_at", Moment, nullable=False),
    Column("ended_at", Moment),
    Index("ix_drill_contact_ended_at", "contact", "ended_at"),
    Index("ix_drill_ended_at", "ended_at"),
)

#: One notice of a drill: to one address by one gateway. Written before the gateway is called, and never sent again.
exercise = Table(
    "exercise",
    metadata,
    _id(),
    Column("key", String(300), nullable=False, unique=True),
    Column("drill_id", ForeignKey("drill.id"), nullable=False),
    Column("agency", String(64), nullable=False),
    Column("contact", String(64), nullable=False),
    Column("name", String(200), nullable=False),
    Column("channel", String(8), nullable=False),
    Column("number", String(200), nullable=False),
    Column("extension", String(32), nullable=False),
    Column("gateway", String(64), nullable=False),
    Column("language", String(8), nullable=False),
    Column("facts", Text, nullable=False),
    Column("reference", String(64), nullable=False, unique=True),
    Column("state", String(16), nullable=False),
    Column("why", Text, nullable=False),
    Column("provider_id", String(200)),
    Column("begun_at", Moment, nullable=False),
    Column("look_at", Moment),
    #: When we heard that it had arrived.
    Column("delivered_at", Moment),
    #: When the person pressed the key.
    Column("confirmed_at", Moment),
    Index("ix_exercise_drill_id", "drill_id"),
    Index("ix_exercise_contact_confirmed_at", "agency", "contact", "confirmed_at"),
    Index("ix_exercise_contact_begun_at", "agency", "contact", "channel", "state", "begun_at"),
    Index("ix_exercise_number_confirmed_at", "number", "confirmed_at"),
    Index("ix_exercise_gateway_begun_at", "gateway", "state", "begun_at"),
)

#: Somebody takes a duty over for a while. Taken back, it stays: who was on call is a part of the record.
override = Table(
    "override",
    metadata,
    _id(),
    #: "CODE/key" of an agency's rota, "key" of one that all may name.
    Column("rota", String(100), nullable=False),
    #: The person as JSON, as known when it was made.
    Column("contact", Text, nullable=False),
    Column("begins", Moment, nullable=False),
    Column("ends", Moment, nullable=False),
    Column("made_by", String(200), nullable=False),
    Column("made_at", Moment, nullable=False),
    Column("removed_by", String(200)),
    Column("removed_at", Moment),
    Index("ix_override_ends", "ends"),
)

#: A calendar of a rota, for programs that cannot sign in: they show a key. Revoked, it stays: who could read is a part of the record.
rota_feed = Table(
    "rota_feed",
    metadata,
    _id(),
    Column("rota", String(100), nullable=False),
    #: SHA-256 of the key.
    Column("digest", String(64), nullable=False, unique=True),
    #: Name of the user; it is good for as long as they may see the rota themselves.
    Column("user", String(64), nullable=False),
    Column("made_at", Moment, nullable=False),
    Column("revoked_by", String(200)),
    Column("revoked_at", Moment),
    Index("ix_rota_feed_rota", "rota"),
)

#: Who may sign in to the portal. Nobody is deleted: the journal and old sessions name them.
portal_user = Table(
    "portal_user",
    metadata,
    _id(),
    Column("name", String(64), nullable=False, unique=True),
    Column("full_name", String(100), nullable=False),
    #: A PHC string of argon2id; NULL: none was chosen yet.
    Column("password", Text),
    #: Failed sign-ins in a row, and when the last was (`monitor.access.lockout`).
    Column("failures", Integer, nullable=False),
    Column("failed_at", Moment),
    #: The same of one-time codes, which only somebody with the password can try.
    Column("code_failures", Integer, nullable=False, server_default="0"),
    Column("code_failed_at", Moment),
    #: Until when attempts do not wait.
    Column("unlocked_until", Moment),
    Column("made_by", String(200), nullable=False),
    Column("made_at", Moment, nullable=False),
    Column("disabled_at", Moment),
    #: The step (RFC 6238) of the one-time code that was used last; NULL: there is no second factor.
    Column("one_time_step", Integer),
)

#: What a user is, for which agency.
role_assignment = Table(
    "role_assignment",
    metadata,
    Column("user_id", ForeignKey("portal_user.id"), primary_key=True),
    Column("role", String(16), primary_key=True),
    Column("agency", String(64), primary_key=True),
)

#: Somebody who is signed in with a browser.
web_session = Table(
    "web_session",
    metadata,
    #: SHA-256 of what the browser shows.
    Column("digest", String(64), primary_key=True),
    Column("user_id", ForeignKey("portal_user.id"), nullable=False),
    Column("begun_at", Moment, nullable=False),
    #: To the minute.
    Column("seen_at", Moment, nullable=False),
    Column("ends_at", Moment, nullable=False),
    Column("address", String(64), nullable=False),
    Index("ix_web_session_user_id", "user_id"),
)

#: The code by which a user may choose a password: the last that was made, until it is used.
access_code = Table(
    "access_code",
    metadata,
    Column("user_id", ForeignKey("portal_user.id"), primary_key=True),
    Column("way", String(16), nullable=False),
    #: A digest, or a PHC string of argon2id of a short one.
    Column("kept", Text, nullable=False),
    Column("made_by", String(200), nullable=False),
    Column("made_at", Moment, nullable=False),
    Column("ends_at", Moment, nullable=False),
)

#: Which user somebody is who signs in with an account elsewhere (OpenID Connect Core 1.0, 5.7: issuer and subject, nothing else).
openid_identity = Table(
    "openid_identity",
    metadata,
    Column("issuer", String(255), primary_key=True),
    Column("subject", String(255), primary_key=True),
    Column("user_id", ForeignKey("portal_user.id"), nullable=False),
    Column("linked_at", Moment, nullable=False),
    Index("ix_openid_identity_user_id", "user_id"),
)

#: By what programs ask and order. None is deleted: the journal names them by number.
api_token = Table(
    "api_token",
    metadata,
    _id(),
    Column("name", String(64), nullable=False),
    #: SHA-256 of what the program shows.
    Column("digest", String(64), nullable=False, unique=True),
    Column("made_by", String(200), nullable=False),
    Column("made_at", Moment, nullable=False),
    Column("ends_at", Moment, nullable=False),
    #: To the minute.
    Column("used_at", Moment),
    Column("revoked_at", Moment),
)

#: What a token permits, for which agency.
token_role = Table(
    "token_role",
    metadata,
    Column("token_id", ForeignKey("api_token.id"), primary_key=True),
    Column("role", String(16), primary_key=True),
    Column("agency", String(64), primary_key=True),
)

#: What an order that bears a key was answered: for a day, so that it is carried out once however often it is sent.
kept_answer = Table(
    "kept_answer",
    metadata,
    #: "token 3", "user 1", "api konsol-noc".
    Column("visitor", String(100), primary_key=True),
    Column("key", String(200), primary_key=True),
    #: SHA-256 of the order.
    Column("digest", String(64), nullable=False),
    Column("begun_at", Moment, nullable=False),
    #: NULL: it is being carried out, or nobody knows whether it was.
    Column("status", Integer),
    Column("body", Text),
    Index("ix_kept_answer_begun_at", "begun_at"),
)

#: Half a sign-in: the password was right, and the second factor is awaited.
half_session = Table(
    "half_session",
    metadata,
    #: SHA-256 of what the browser shows.
    Column("digest", String(64), primary_key=True),
    Column("user_id", ForeignKey("portal_user.id"), nullable=False),
    Column("ends_at", Moment, nullable=False),
    Index("ix_half_session_user_id", "user_id"),
)

#: What stands in for a second factor that is lost, until it is used.
recovery_code = Table(
    "recovery_code",
    metadata,
    Column("user_id", ForeignKey("portal_user.id"), primary_key=True),
    #: SHA-256: a code has 120 bits.
    Column("digest", String(64), primary_key=True),
)

#: Secrets, encrypted with a key that is not in the database (`monitor.store.admin.keyring`).
kept_secret = Table(
    "kept_secret",
    metadata,
    Column("purpose", String(32), primary_key=True),
    #: Whose it is, as its purpose says. The ciphertext is bound to both.
    Column("owner", String(200), primary_key=True),
    #: The name of the key.
    Column("key_id", String(16), nullable=False),
    Column("ciphertext", Text, nullable=False),
    Column("written_by", String(200), nullable=False),
    Column("written_at", Moment, nullable=False),
)

#: Links by which a wall is read without signing in.
wall = Table(
    "wall",
    metadata,
    _id(),
    #: SHA-256 of the key in the link.
    Column("digest", String(64), nullable=False, unique=True),
    Column("name", String(100), nullable=False),
    #: Codes; NULL: all.
    Column("agencies", JSON(none_as_null=True)),
    Column("made_by", String(200), nullable=False),
    Column("made_at", Moment, nullable=False),
    Column("ends_at", Moment, nullable=False),
)

#: What recipients were told of planned maintenance beforehand. Each has its entry in the journal, and goes with that in a purge.
advance_notice = Table(
    "advance_notice",
    metadata,
    _id(),
    #: The number of the entry that tells that it was made.
    Column("entry", Integer, nullable=False, unique=True),
    Column("agency", String(64), nullable=False),
    #: What it is quoted by. Agencies whose codes begin alike have numbers that do.
    Column("number", String(32), nullable=False, unique=True),
    Column("news", String(32), nullable=False),
    Column("begins", Moment, nullable=False),
    Column("ends", Moment, nullable=False),
    Column("why", Text, nullable=False),
    Column("made_by", String(200), nullable=False),
    Column("made_at", Moment, nullable=False),
    #: The number of the one whose place it takes.
    Column("replaces", String(32)),
    #: Whatever is told of the past is not read again.
    Index("ix_advance_notice_agency_ends", "agency", "ends"),
    Index("ix_advance_notice_replaces", "replaces"),
)
