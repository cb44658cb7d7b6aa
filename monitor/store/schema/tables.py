"""Tables of the database. Unique keys prevent that an action is stored twice.

Migrations under `migrations/` create the tables; a test compares these definitions with the migrated schema.

A *site* is a place from which mail is probed. A *hub* is a process that combines the results of several sites and
notifies people; the sites' published tables are replicated to its database.
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
    """Aware UTC datetime. SQLite stores no time zone, so UTC is added when a value is read."""

    impl = DateTime(timezone=True)
    cache_ok = True

    def process_bind_param(self, value: datetime | None, dialect: Dialect) -> datetime | None:  # noqa: ARG002
        """Return the datetime in UTC. Raise `ValueError` for a naive datetime: its zone would be a guess."""
        if value is None:
            return None
        if value.tzinfo is None:
            raise ValueError(f"{value} has no time zone")
        return value.astimezone(UTC)

    def process_result_value(self, value: datetime | None, dialect: Dialect) -> datetime | None:  # noqa: ARG002
        """Return an aware datetime."""
        return None if value is None else value.replace(tzinfo=UTC) if value.tzinfo is None else value.astimezone(UTC)


def clean(text: str, length: int | None = None) -> str:
    """Return an external text in a form that a database accepts: PostgreSQL rejects NUL and limits lengths."""
    return text.replace("\0", "")[:length]


def _only(rows: str) -> dict[str, Any]:
    """Return the arguments of a partial index on the rows that meet the SQL condition *rows*, for both databases."""
    return {"sqlite_where": text(rows), "postgresql_where": text(rows)}


def _id() -> Column[int]:
    return Column("id", Integer, primary_key=True, autoincrement=True)


#: The configuration that was applied last, with its source.
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
    #: NULL: with this version the agency is no longer monitored.
    Column("text", Text),
    Column("source", String(16), nullable=False),
    Column("written_by", String(200), nullable=False),
    Column("written_at", Moment, nullable=False),
    #: NULL: the latest version.
    Column("replaced_at", Moment),
    Index("uq_document_latest", "agency", unique=True, **_only("replaced_at IS NULL")),
)

#: At a site: documents that its hub has written for it, one row per agency (`monitor.model.desired_document`).
desired_document = Table(
    "desired_document",
    metadata,
    Column("agency", String(64), primary_key=True),
    Column("name", String(255), nullable=False),
    #: NULL: the site has to stop monitoring the agency.
    Column("text", Text),
    #: Name of the hub.
    Column("offered_by", String(200), nullable=False),
    Column("offered_at", Moment, nullable=False),
    #: NULL: the site has not processed it.
    Column("processed_at", Moment),
    #: Why the site has refused the document; NULL: the site has accepted it, or not processed it yet.
    Column("refusal", Text),
)

#: Type of run ids: 32-bit ids would be used up. SQLite generates ids only in a column of the type INTEGER.
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
        #: The remaining fields, as JSON.
        Column("result", Text, nullable=False),
    )


#: Ended probe runs. Runs with the outcome `delivered` are kept for a month, others for a year (`retention`).
run = Table(
    "run",
    metadata,
    *_ends_of_runs(_Many),
    Index("ix_run_of_route", "agency", "route", "started_at"),
    Index("ix_run_of_outcome", "outcome", "started_at"),
)

#: Ended runs that a version without hourly counts has stored. They are moved into `run` in small parts, until this
#: table is empty. A migration that builds an index on a hundred million rows would take an hour, without any probing.
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
        #: Minutes in which runs began, as bits: bit 0 is the first minute. A gap longer than `interval` means that the
        #: route was not monitored.
        Column("minutes", BigInteger, nullable=False),
        #: The probe interval of the route, in seconds; 0: unknown.
        Column("interval", Integer, nullable=False),
        #: Seconds from the begin to the end of a run: sum and maximum.
        Column("duration", Float, nullable=False),
        Column("longest", Float, nullable=False),
        #: Seconds in transit, where known: sum and maximum.
        Column("transit", Float, nullable=False),
        Column("slowest", Float, nullable=False),
    )


#: Counts of a route's runs that began in one hour and have equal outcomes and grades. The counts outlast the runs.
hour = Table(
    "hour",
    metadata,
    Column("agency", String(64), primary_key=True),
    Column("route", String(200), primary_key=True),
    #: Begin of the hour.
    Column("starts_at", Moment, primary_key=True),
    Column("outcome", String(16), primary_key=True),
    #: Grade of the runs (`monitor.model.health.Grade`); "": unknown.
    Column("grade", String(8), primary_key=True),
    *_counts(),
    Index("ix_hour_begins", "starts_at"),
    sqlite_with_rowid=False,
)

#: State of an agency's mail in each minute of a day in Malaysia (`monitor.model.day`).
day = Table(
    "day",
    metadata,
    Column("agency", String(64), primary_key=True),
    Column("date", Date, primary_key=True),
    #: "-480w615s30": a character for each state, and its number of minutes. Writers extend the stored value.
    Column("minutes", Text, nullable=False),
    Index("ix_day_date", "date"),
    sqlite_with_rowid=False,
)

#: Tokens of sent messages. With them, late, duplicate and forged mail is recognised after a restart.
token = Table(
    "token",
    metadata,
    Column("id", String(32), primary_key=True),
    Column("route", String(200), nullable=False),
    Column("sent_at", Moment, nullable=False),
    Column("deadline", Moment, nullable=False),
    #: When the message arrived, in time or late; NULL: it is missing.
    Column("arrived_at", Moment),
    #: Few messages are missing. Their tokens are read after every restart, and kept longer than the others.
    Index("ix_token_missing", "sent_at", **_only("arrived_at IS NULL")),
    Index("ix_token_came", "sent_at", **_only("arrived_at IS NOT NULL")),
)

#: The latest health of each route and of each component of Pantau.
health = Table(
    "health",
    metadata,
    Column("subject", String(200), primary_key=True),
    Column("health", String(16), nullable=False),
    Column("since", Moment, nullable=False),
)

#: The latest runs of a route that contradict its health: after a restart they still count towards the next change.
streak = Table(
    "streak",
    metadata,
    Column("subject", String(200), primary_key=True),
    #: JSON, the oldest first (`monitor.evaluation.health_tracker.GradedRun`); [] if nothing contradicts.
    Column("runs", Text, nullable=False),
)

#: A site's status of an agency or of a component of Pantau (`monitor.evaluation.joint.site_status`). On PostgreSQL,
#: each site to which this hub subscribes has a partition; all other rows are in `rest_of_site_status`.
site_status = Table(
    "site_status",
    metadata,
    Column("site", String(64), primary_key=True),
    #: As an incident's `dedup_key`.
    Column("subject", String(200), primary_key=True),
    #: Type of the problem; NULL: no problem, or unknown. `since` is NULL if and only if `type` is NULL.
    Column("type", String(16)),
    Column("cause", String(16)),
    Column("since", Moment),
    Column("latest", Moment),
    Column("flapping", Boolean, nullable=False),
    #: If this and `type` are NULL, the status is undecided, unknown or flapping.
    Column("up_since", Moment),
    #: JSON: the health of each probed direction.
    Column("directions", Text, nullable=False),
    #: JSON: the routes that fail.
    Column("failing_routes", Text, nullable=False),
    sqlite_with_rowid=False,
    postgresql_partition_by="LIST (site)",
)

#: A site's latest heartbeat. Replication transfers it after all earlier statuses of the site. Partitioned as
#: `site_status`.
site_heartbeat = Table(
    "site_heartbeat",
    metadata,
    Column("site", String(64), primary_key=True),
    #: By the site's clock.
    Column("at", Moment, nullable=False),
    #: The monotonic clock of the process, in microseconds, and the process's incarnation (`freshness.SiteHeartbeat`).
    Column("monotonic", BigInteger, nullable=False),
    Column("incarnation", String(64), nullable=False),
    sqlite_with_rowid=False,
    postgresql_partition_by="LIST (site)",
)

#: Published runs with another outcome than `delivered` (`monitor.store.probing.site_runs`): at a hub those of its
#: sites, at a site its own. Partitioned as `site_status`. A run that is published twice has two rows, because the key
#: includes `published_at`.
site_run = Table(
    "site_run",
    metadata,
    Column("site", String(64), primary_key=True),
    Column("agency", String(64), primary_key=True),
    Column("started_at", Moment, primary_key=True),
    Column("token_id", String(32), primary_key=True),
    Column("published_at", Moment, primary_key=True),
    Column("route", String(200), nullable=False),
    Column("duration", Float, nullable=False),
    Column("outcome", String(16), nullable=False),
    Column("result", Text, nullable=False),
    Index("ix_site_run_of_agency", "site", "agency", "started_at"),
    Index("ix_site_run_started_at", "started_at"),
    sqlite_with_rowid=False,
    postgresql_partition_by="LIST (site)",
)

#: Published hours, with the columns of `hour`: at a hub those of its sites, at a site its own. If an hour was published
#: twice, the row with more runs counts.
site_hour = Table(
    "site_hour",
    metadata,
    Column("site", String(64), primary_key=True),
    Column("agency", String(64), primary_key=True),
    Column("starts_at", Moment, primary_key=True),
    Column("route", String(200), primary_key=True),
    Column("outcome", String(16), primary_key=True),
    Column("grade", String(8), primary_key=True),
    Column("published_at", Moment, primary_key=True),
    *_counts(),
    Index("ix_site_hour_of_agency", "site", "agency", "starts_at"),
    Index("ix_site_hour_begins", "starts_at"),
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
    Column("type", String(16), nullable=False),
    Column("state", String(16), nullable=False),
    Column("policy", Text, nullable=False),
    Column("began_at", Moment, nullable=False),
    Column("opened_at", Moment, nullable=False),
    Column("since", Moment, nullable=False),
    #: The present type and since when; NULL in rows of older versions: as when the incident opened.
    Column("current_type", String(16)),
    Column("current_type_since", Moment),
    #: When the problem of `type` began, and that of `current_type`; NULL: at `began_at`. When the first outage in the
    #: incident began; NULL: it had none.
    Column("type_began_at", Moment),
    Column("current_type_began_at", Moment),
    Column("outage_began_at", Moment),
    Column("restarts", Integer, nullable=False),
    Column("round", Integer, nullable=False),
    Column("step", Integer, nullable=False),
    Column("step_since", Moment, nullable=False),
    Column("acknowledged_at", Moment),
    Column("acknowledged_by", String(200)),
    #: The latest action of the assignee, the reminder before the acknowledgement expires, and the previous assignee.
    Column("last_response_at", Moment),
    Column("reminded_at", Moment),
    Column("previous_assignee", String(200)),
    #: Whether the assignee escalated the incident.
    Column("escalated", Boolean, nullable=False, server_default=false()),
    Column("released_at", Moment),
    Column("released_by", String(200)),
    Column("resolved_at", Moment),
    Column("ended_at", Moment),
    #: When a person marked it as a false alarm.
    Column("false_alarm_at", Moment),
    Column("false_alarm_by", String(200)),
    Column("false_alarm_reason", Text),
    #: Whether mail was down and up repeatedly before the incident opened.
    Column("flapping", Boolean, nullable=False, server_default=false()),
    #: The type that probes detected last; NULL: none, as for an outage that only a person declared.
    Column("detected", String(16)),
    #: The outage that a person declared (stated by hand, whatever the probes find).
    Column("declared_type", String(16)),
    Column("declared_at", Moment),
    Column("declared_by", String(200)),
    Column("declared_reason", Text),
    Column("declared_ended_at", Moment),
    Column("declared_ended_by", String(200)),
    #: When and why a person closed the incident by hand, and whether that person stated that mail works.
    Column("closed_at", Moment),
    Column("closed_by", String(200)),
    Column("closed_reason", Text),
    Column("closed_recovered", Boolean),
    #: The page number after which the incident's pages continue, because the store was restored from an older copy; 0:
    #: it was not restored.
    Column("skipped_pages", Integer, nullable=False, server_default=text("0")),
    #: Whether nothing is pending, so that no engine (part of a process that processes incidents) reads the incident.
    Column("at_rest", Boolean, nullable=False, default=False),
    #: The engine that processes the incident, and the end of its lease (an exclusive right that it renews). An engine
    #: that does not share the database takes no lease.
    Column("owner", String(200)),
    Column("owned_until", Moment),
    #: Whether another engine has changed the incident, so that its owner has to process it.
    Column("nudged", Boolean, nullable=False, server_default=false()),
    #: One open incident per subject, even if two processes decide at the same time.
    Index("uq_incident_open", "dedup_key", unique=True, **_only("resolved_at IS NULL")),
    #: Few incidents are active, and only those are processed.
    Index("ix_incident_active", "id", sqlite_where=text("at_rest IS 0"), postgresql_where=text("at_rest IS false")),
    Index("ix_incident_nudged", "owner", sqlite_where=text("nudged = 1"), postgresql_where=text("nudged")),
    Index("ix_incident_dedup_key", "dedup_key"),
    Index("ix_incident_opened_at", "opened_at"),
    Index("ix_incident_resolved_at", "resolved_at"),
)

notification = Table(
    "notification",
    metadata,
    _id(),
    #: Incident, plan, step, round, purpose and person in one string: a repeated decision writes once.
    Column("key", String(300), nullable=False, unique=True),
    Column("plan", String(16), nullable=False),
    Column("purpose", String(16), nullable=False),
    Column("person", String(64), nullable=False),
    Column("language", String(8), nullable=False),
    Column("facts", Text, nullable=False),
    Column("addresses", Text, nullable=False),
    Column("addressee", Text),
    Column("restarts", Integer, nullable=False),
    Column("round", Integer, nullable=False),
    Column("step", Integer, nullable=False),
    Column("state", String(16), nullable=False),
    Column("urgency", String(16), nullable=False, server_default="first"),
    #: Notifications with equal keys may be bundled into one (`alerts.decide.bundle`).
    Column("bundle_key", String(120)),
    #: Until then it waits for more incidents to join, or for a rate limit.
    Column("not_before", Moment),
    Column("created_at", Moment, nullable=False),
    Column("expires_at", Moment, nullable=False),
    Index("ix_notification_state", "state"),
    Index("ix_notification_gathering_created_at", "bundle_key", "created_at"),
)

#: The incidents of a notification: one, or several that failed at once.
notification_incident = Table(
    "notification_incident",
    metadata,
    Column("notification_id", ForeignKey("notification.id"), primary_key=True),
    Column("incident_id", ForeignKey("incident.id"), primary_key=True),
    #: Key of the decision that added the incident: a repeated decision writes once, bundled or not.
    Column("key", String(300), nullable=False, unique=True),
    #: The recipient's name in this incident's policy: another agency may use the name for another person.
    Column("person", String(64), nullable=False),
    Column("facts", Text, nullable=False),
    Column("restarts", Integer, nullable=False),
    Column("round", Integer, nullable=False),
    Column("step", Integer, nullable=False),
    #: When the incident was acknowledged or resolved before the notification was sent, which then does not mention it.
    Column("left_at", Moment),
    Index("ix_notification_incident_incident_id", "incident_id"),
)

#: Subjects that cause no notifications for a while.
silence = Table(
    "silence",
    metadata,
    _id(),
    #: An incident's dedup key: an agency's code, or "ours/...".
    Column("target", String(200), nullable=False),
    Column("starts_at", Moment, nullable=False),
    #: Exclusive end; for a removed silence, the time of the removal.
    Column("ends_at", Moment, nullable=False),
    Column("reason", Text, nullable=False),
    Column("by", String(200), nullable=False),
    Index("ix_silence_ends", "ends_at"),
)

delivery = Table(
    "delivery",
    metadata,
    _id(),
    Column("notification_id", ForeignKey("notification.id"), nullable=False),
    Column("channel", String(8), nullable=False),
    Column("number", String(200), nullable=False),
    Column("extension", String(32), nullable=False),
    UniqueConstraint("notification_id", "channel", "number", "extension"),
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
    #: Rank of the state: a late callback never lowers it.
    Column("rank", Integer, nullable=False),
    Column("started_at", Moment, nullable=False),
    Column("query_at", Moment, nullable=False),
    Column("queries", Integer, nullable=False),
    Column("provider_id", String(200)),
    Column("error", String(16)),
    Column("code", String(64), nullable=False),
    Column("detail", Text, nullable=False),
    Column("ended_at", Moment),
    #: The response code in the SMS; empty if the notification needs no response.
    Column("response", String(8), nullable=False, server_default=text("''")),
    UniqueConstraint("delivery_id", "n"),
    Index("ix_attempt_started_at", "started_at"),
    Index("ix_attempt_state_look_at", "state", "query_at"),
    Index("ix_attempt_gateway_started_at", "gateway", "state", "started_at"),
)

#: A clerk's records that a letter was printed and posted. Each step has one row: the first record counts.
letter_step = Table(
    "letter_step",
    metadata,
    Column("attempt_id", ForeignKey("attempt.id"), primary_key=True),
    Column("step", String(16), primary_key=True),
    Column("at", Moment, nullable=False),
    Column("by", String(200), nullable=False),
    #: The day of posting, if the clerk entered it.
    Column("day", Date),
)

#: Short codes that a person sends by SMS to acknowledge.
response_code = Table(
    "response_code",
    metadata,
    _id(),
    Column("number", String(32), nullable=False),
    Column("code", Integer, nullable=False),
    #: The incidents, each marked whether it is an outage. Repeated notifications about the same incidents have the same
    #: code on a phone.
    Column("about", String(200), nullable=False),
    #: The latest notification with this code.
    Column("notification_id", ForeignKey("notification.id"), nullable=False),
    Column("given_at", Moment, nullable=False),
    UniqueConstraint("number", "about"),
    Index("ix_response_code_notification_id", "notification_id"),
)

#: Numbers that have sent an SMS.
sms_number = Table(
    "sms_number",
    metadata,
    Column("number", String(32), primary_key=True),
    #: Its owner has opted out of SMS.
    Column("stopped_at", Moment),
    #: Number of unrecognised answers in a row.
    Column("unrecognised", Integer, nullable=False),
)

#: PINs typed in calls, right and wrong, without the digits.
pin_attempt = Table(
    "pin_attempt",
    metadata,
    _id(),
    #: Reference of the attempt, that is, of the call.
    Column("reference", String(64), nullable=False),
    Column("agency", String(64), nullable=False),
    Column("person", String(64), nullable=False),
    Column("at", Moment, nullable=False),
    Column("accepted", Boolean, nullable=False),
    Index("ix_pin_attempt_person_at", "person", "at"),
)

#: Processed callbacks; providers repeat them.
callback_event = Table(
    "callback_event",
    metadata,
    Column("gateway", String(64), primary_key=True),
    Column("event_id", String(200), primary_key=True),
    Column("at", Moment, nullable=False),
)

#: The latest state of each alert of the NOC's own monitoring, by the fingerprint of its labels.
received_alert = Table(
    "received_alert",
    metadata,
    Column("fingerprint", String(16), primary_key=True),
    #: When the alert began to fire last. Together with the fingerprint, the time identifies the alert.
    Column("starts_at", Moment, nullable=False),
    #: NULL: it fires.
    Column("ended_at", Moment),
    #: When the alert was last received.
    Column("received_at", Moment, nullable=False),
    #: Dedup key of the incident that several alerts share; NULL: the alert has its own incident.
    Column("merged_into", String(200)),
    Index("ix_received_alert_heard_at", "received_at"),
    Index("ix_received_alert_folded_into", "merged_into", **_only("merged_into IS NOT NULL")),
)

#: The next number of an agency's incidents.
counter = Table(
    "counter",
    metadata,
    Column("name", String(64), primary_key=True),
    Column("next", Integer, nullable=False),
)

#: The audit log: decisions, messages, answers and actions with their authors, in a hash chain
#: (`alerts.persistence.audit`). Append-only, enforced by triggers. A migration that copies this table (batch mode on
#: SQLite) loses the triggers and must recreate them.
audit_log = Table(
    "audit_log",
    metadata,
    #: Number of the entry in the chain, without gaps.
    Column("id", Integer, primary_key=True, autoincrement=False),
    Column("at", Moment, nullable=False),
    Column("actor", String(200), nullable=False),
    Column("event", String(200), nullable=False),
    Column("incident_id", Integer),
    Column("notification_id", Integer),
    Column("detail", JSON, nullable=False),
    #: Hash of the previous entry. Unique: the chain cannot fork.
    Column("previous", String(64), nullable=False, unique=True),
    #: Hash of the content, and hash of that together with `previous`.
    Column("content", String(64), nullable=False),
    Column("hash", String(64), nullable=False),
    #: Number of the entry about the purge that deleted the content of this entry; NULL: not purged.
    Column("purged_by", Integer),
    #: Only entries about an incident: SQLite would otherwise use this index to find entries about no incident.
    Index("ix_audit_log_incident_id", "incident_id", **_only("incident_id IS NOT NULL")),
    Index("ix_audit_log_notification_id", "notification_id", **_only("notification_id IS NOT NULL")),
    #: Entries of an actor or of an event, the newest first.
    Index("ix_audit_log_actor", "actor", "id"),
    Index("ix_audit_log_event", "event", "id"),
    Index("ix_audit_log_checkpoint", "id", **_only(f"event = '{CHECKPOINT}'")),
    #: Entries that a purge selects by their time: about no incident, and not purged yet.
    Index(
        "ix_audit_log_about_none",
        "at",
        **_only("incident_id IS NULL AND notification_id IS NULL AND purged_by IS NULL"),
    ),
)

#: Number and hash of the last entry of the audit log. One row, which each writer locks.
audit_head = Table(
    "audit_head",
    metadata,
    Column("id", Integer, primary_key=True, autoincrement=False),
    Column("number", Integer, nullable=False),
    Column("hash", String(64), nullable=False),
)

#: Times when the store was, or may have been, an older copy. Until confirmed, paper is held.
restoration = Table(
    "restoration",
    metadata,
    _id(),
    Column("how", String(16), nullable=False),
    Column("noticed_at", Moment, nullable=False),
    #: The last time that the store contained.
    Column("since", Moment),
    #: Who restored it; empty: it was detected.
    Column("by", String(200), nullable=False),
    #: Numbers and pages after which it continues, as that person entered.
    Column("numbers", JSON, nullable=False),
    Column("pages", JSON, nullable=False),
    #: The skipped numbers; NULL: not determined yet.
    Column("skipped", JSON(none_as_null=True)),
    Column("confirmed_at", Moment),
    Column("confirmed_by", String(200), nullable=False),
    Column("reason", Text, nullable=False),
)

#: Processes on this store, and their latest writes.
process = Table(
    "process",
    metadata,
    Column("name", String(64), primary_key=True),
    Column("started_at", Moment, nullable=False),
    Column("heartbeat_at", Moment, nullable=False),
    #: When it was stopped in order; a killed process never writes it.
    Column("stopped_at", Moment),
    #: Level of the agencies' documents that it uses (`Documents.level`); NULL: files are in force, or unknown.
    Column("documents", BigInteger),
    #: The agencies of which it has documents, as JSON, with a digest; NULL: not written yet.
    Column("agencies", Text),
    Column("agencies_digest", String(64)),
    #: Since when the site has evaluated health without interruption; NULL: for as long as is known.
    Column("continuous_since", Moment),
)

#: The latest request to run all routes of an agency now. A hub writes it into the stores of its sites.
probe_request = Table(
    "probe_request",
    metadata,
    Column("agency", String(64), primary_key=True),
    Column("requested_at", Moment, nullable=False),
)

#: A drill: one pass over contacts and gateways.
drill = Table(
    "drill",
    metadata,
    _id(),
    #: What triggered the drill. Two processes that reach the hour of a drill begin it once.
    Column("key", String(64), nullable=False, unique=True),
    #: Prefix of the numbers of its notifications.
    Column("number", String(32), nullable=False),
    Column("requested_by", String(200), nullable=False),
    #: Key of the contact, or "all".
    Column("contact", String(64), nullable=False),
    Column("starts_at", Moment, nullable=False),
    #: After this time nothing more is sent.
    Column("ends_at", Moment, nullable=False),
    Column("ended_at", Moment),
    Index("ix_drill_contact_ended_at", "contact", "ended_at"),
    Index("ix_drill_ended_at", "ended_at"),
)

#: One notification of a drill, to one address by one gateway. The row is written before the gateway is called, and the
#: notification is never sent again.
drill_notification = Table(
    "drill_notification",
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
    Column("reason", Text, nullable=False),
    Column("provider_id", String(200)),
    Column("started_at", Moment, nullable=False),
    Column("query_at", Moment),
    #: When its arrival was reported.
    Column("delivered_at", Moment),
    #: When the person pressed the key.
    Column("confirmed_at", Moment),
    Index("ix_drill_notification_drill_id", "drill_id"),
    Index("ix_drill_notification_contact_confirmed_at", "agency", "contact", "confirmed_at"),
    Index("ix_drill_notification_contact_begun_at", "agency", "contact", "channel", "state", "started_at"),
    Index("ix_drill_notification_number_confirmed_at", "number", "confirmed_at"),
    Index("ix_drill_notification_gateway_begun_at", "gateway", "state", "started_at"),
)

#: On-call overrides: replacements of a person on a rota. Removed rows stay: who was on call is part of the record.
override = Table(
    "override",
    metadata,
    _id(),
    #: "CODE/key" of an agency's rota, "key" of a shared one.
    Column("rota", String(100), nullable=False),
    #: The person as JSON, as configured when it was created.
    Column("contact", Text, nullable=False),
    Column("starts_at", Moment, nullable=False),
    Column("ends_at", Moment, nullable=False),
    Column("made_by", String(200), nullable=False),
    Column("made_at", Moment, nullable=False),
    Column("removed_by", String(200)),
    Column("removed_at", Moment),
    Index("ix_override_ends", "ends_at"),
)

#: Calendar feeds of rotas, for programs that send a key because they cannot sign in. Revoked rows stay: who could read
#: a rota is part of the record.
rota_feed = Table(
    "rota_feed",
    metadata,
    _id(),
    Column("rota", String(100), nullable=False),
    #: SHA-256 of the key.
    Column("digest", String(64), nullable=False, unique=True),
    #: Name of the user; the feed is valid while that user may see the rota.
    Column("user", String(64), nullable=False),
    Column("made_at", Moment, nullable=False),
    Column("revoked_by", String(200)),
    Column("revoked_at", Moment),
    Index("ix_rota_feed_rota", "rota"),
)

#: Users of the portal. None is deleted: the audit log and old sessions name them.
portal_user = Table(
    "portal_user",
    metadata,
    _id(),
    Column("name", String(64), nullable=False, unique=True),
    Column("full_name", String(100), nullable=False),
    #: A PHC string of argon2id; NULL: none has been chosen yet.
    Column("password", Text),
    #: Failed sign-ins in a row, and the time of the last one (`monitor.access.lockout`).
    Column("failures", Integer, nullable=False),
    Column("failed_at", Moment),
    #: Failed one-time codes in a row, which follow a correct password, and the time of the last one.
    Column("code_failures", Integer, nullable=False, server_default="0"),
    Column("code_failed_at", Moment),
    #: Exempt from delays until this time.
    Column("unlocked_until", Moment),
    Column("made_by", String(200), nullable=False),
    Column("made_at", Moment, nullable=False),
    Column("disabled_at", Moment),
    #: The step (RFC 6238) of the last used one-time code; NULL: there is no second factor.
    Column("one_time_step", Integer),
)

#: Roles of users, per agency.
role_assignment = Table(
    "role_assignment",
    metadata,
    Column("user_id", ForeignKey("portal_user.id"), primary_key=True),
    Column("role", String(16), primary_key=True),
    Column("agency", String(64), primary_key=True),
)

#: Sessions of users in browsers.
web_session = Table(
    "web_session",
    metadata,
    #: SHA-256 of the key in the cookie.
    Column("digest", String(64), primary_key=True),
    Column("user_id", ForeignKey("portal_user.id"), nullable=False),
    Column("started_at", Moment, nullable=False),
    #: Rounded to the minute.
    Column("seen_at", Moment, nullable=False),
    Column("ends_at", Moment, nullable=False),
    Column("address", String(64), nullable=False),
    Index("ix_web_session_user_id", "user_id"),
)

#: The code with which a user may choose a password: the latest one, until it is used.
invitation_code = Table(
    "invitation_code",
    metadata,
    Column("user_id", ForeignKey("portal_user.id"), primary_key=True),
    Column("kind", String(16), nullable=False),
    #: A digest, or a PHC string of argon2id for a short code.
    Column("digest", Text, nullable=False),
    Column("made_by", String(200), nullable=False),
    Column("made_at", Moment, nullable=False),
    Column("ends_at", Moment, nullable=False),
)

#: External accounts of users (OpenID Connect Core 1.0, 5.7: identified by issuer and subject alone).
openid_identity = Table(
    "openid_identity",
    metadata,
    Column("issuer", String(255), primary_key=True),
    Column("subject", String(255), primary_key=True),
    Column("user_id", ForeignKey("portal_user.id"), nullable=False),
    Column("linked_at", Moment, nullable=False),
    Index("ix_openid_identity_user_id", "user_id"),
)

#: Tokens of programs. None is deleted: the audit log names them by number.
api_token = Table(
    "api_token",
    metadata,
    _id(),
    Column("name", String(64), nullable=False),
    #: SHA-256 of the token.
    Column("digest", String(64), nullable=False, unique=True),
    Column("made_by", String(200), nullable=False),
    Column("made_at", Moment, nullable=False),
    Column("ends_at", Moment, nullable=False),
    #: Rounded to the minute.
    Column("used_at", Moment),
    Column("revoked_at", Moment),
)

#: Roles of tokens, per agency.
token_role = Table(
    "token_role",
    metadata,
    Column("token_id", ForeignKey("api_token.id"), primary_key=True),
    Column("role", String(16), primary_key=True),
    Column("agency", String(64), primary_key=True),
)

#: Responses to requests with an idempotency key, for a day: a repeated request is executed once.
idempotency_record = Table(
    "idempotency_record",
    metadata,
    #: "token 3", "user 1", "api konsol-noc".
    Column("principal", String(100), primary_key=True),
    Column("key", String(200), primary_key=True),
    #: SHA-256 of the request.
    Column("digest", String(64), nullable=False),
    Column("started_at", Moment, nullable=False),
    #: NULL: it is being executed, or its outcome is unknown.
    Column("status", Integer),
    Column("body", Text),
    Index("ix_idempotency_record_begun_at", "started_at"),
)

#: Pending sessions: the password was correct, and the second factor is awaited.
pending_session = Table(
    "pending_session",
    metadata,
    #: SHA-256 of the key in the cookie.
    Column("digest", String(64), primary_key=True),
    Column("user_id", ForeignKey("portal_user.id"), nullable=False),
    Column("ends_at", Moment, nullable=False),
    Index("ix_pending_session_user_id", "user_id"),
)

#: Recovery codes, each valid once instead of a lost second factor.
recovery_code = Table(
    "recovery_code",
    metadata,
    Column("user_id", ForeignKey("portal_user.id"), primary_key=True),
    #: SHA-256: a code has 120 bits.
    Column("digest", String(64), primary_key=True),
)

#: Secrets, encrypted with a key that is not in the database (`monitor.store.admin.keyring`).
secret = Table(
    "secret",
    metadata,
    Column("purpose", String(32), primary_key=True),
    #: The owner, such as a user's id; its meaning depends on the purpose. A ciphertext is valid only for its purpose
    #: and owner.
    Column("owner", String(200), primary_key=True),
    #: Identifier of the key.
    Column("key_id", String(16), nullable=False),
    Column("ciphertext", Text, nullable=False),
    Column("written_by", String(200), nullable=False),
    Column("written_at", Moment, nullable=False),
)

#: Links by which a wallboard is read without a sign-in.
wallboard_link = Table(
    "wallboard_link",
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

#: Notices of planned maintenance to recipients. Each has an entry in the audit log, and is purged with it.
maintenance_notice = Table(
    "maintenance_notice",
    metadata,
    _id(),
    #: Number of the entry about its creation.
    Column("entry", Integer, nullable=False, unique=True),
    Column("agency", String(64), nullable=False),
    #: Its reference number. Agencies whose codes begin alike share a sequence.
    Column("number", String(32), nullable=False, unique=True),
    Column("kind", String(32), nullable=False),
    Column("starts_at", Moment, nullable=False),
    Column("ends_at", Moment, nullable=False),
    Column("reason", Text, nullable=False),
    Column("made_by", String(200), nullable=False),
    Column("made_at", Moment, nullable=False),
    #: Number of the notice that it replaces.
    Column("replaces", String(32)),
    #: Only notices about present and future work are searched.
    Index("ix_maintenance_notice_agency_ends", "agency", "ends_at"),
    Index("ix_maintenance_notice_replaces", "replaces"),
)
