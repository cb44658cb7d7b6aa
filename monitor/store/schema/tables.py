"""Tables of the database. Unique keys prevent that an action is stored twice.

Migrations under `migrations/` create the tables; a test compares these definitions with the migrated schema. A column
without a comment has the meaning of the dataclass field with its name. `made_at` and `made_by` state when a row was
created, and by whom.

A *site* is a place from which mail is probed. A *hub* is an installation that combines the results of several sites and
notifies people; the sites' published tables are replicated to its database. A *subject* is what an incident or a health
is about: an agency, a route, or a component of Pantau.
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

from alerts.persistence.audit import CHECKPOINT

metadata = MetaData(
    naming_convention={
        "ix": "ix_%(table_name)s_%(column_0_N_name)s",
        "uq": "uq_%(table_name)s_%(column_0_N_name)s",
        "fk": "fk_%(table_name)s_%(column_0_N_name)s",
        "pk": "pk_%(table_name)s",
    }
)


class UtcDateTime(TypeDecorator[datetime]):
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


def to_storable(text: str, length: int | None = None) -> str:
    """Return *text* without NUL and cut to *length*, because PostgreSQL rejects NUL and too long texts."""
    return text.replace("\0", "")[:length]


def _partial_index(condition: str) -> dict[str, Any]:
    """Return the `Index` arguments of a partial index with an SQL *condition* on its rows, for both databases."""
    return {"sqlite_where": text(condition), "postgresql_where": text(condition)}


def _id() -> Column[int]:
    return Column("id", Integer, primary_key=True, autoincrement=True)


#: The configuration that was applied last: a document for each agency, and for each record of another *kind*.
record = Table(
    "record",
    metadata,
    Column("kind", String(32), primary_key=True),
    Column("key", String(64), primary_key=True),
    Column("document", Text, nullable=False),
    #: File or other source of the document.
    Column("source", Text, nullable=False),
    Column("applied_at", UtcDateTime, nullable=False),
)

#: Every version of the document (configuration) of every agency (`monitor.model.document`).
document = Table(
    "document",
    metadata,
    Column("agency", String(64), primary_key=True),
    #: Number of the version.
    Column("number", Integer, primary_key=True, autoincrement=False),
    #: Name of the agency's file.
    Column("name", String(255), nullable=False),
    #: NULL: with this version the agency is no longer monitored.
    Column("text", Text),
    #: How it was written: a file, the portal, the API, or the hub (`EditSource`).
    Column("source", String(16), nullable=False),
    Column("written_by", String(200), nullable=False),
    Column("written_at", UtcDateTime, nullable=False),
    #: NULL: the latest version.
    Column("replaced_at", UtcDateTime),
    Index("uq_document_latest", "agency", unique=True, **_partial_index("replaced_at IS NULL")),
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
    Column("offered_at", UtcDateTime, nullable=False),
    #: NULL: the site has not processed it.
    Column("processed_at", UtcDateTime),
    #: Why the site has refused the document; NULL: the site has accepted it, or not processed it yet.
    Column("refusal", Text),
)

#: Type of run ids, for which 32 bits are not enough. SQLite generates ids only in a column of the type INTEGER.
_BigId = BigInteger().with_variant(Integer(), "sqlite")


#: Finished probe runs. Runs with the outcome `delivered` are by default kept for a month, others for a year
#: (`monitor.store.probing.retention`).
run = Table(
    "run",
    metadata,
    Column("id", _BigId, primary_key=True, autoincrement=True),
    #: Code of the agency; "" for a control route, between two reference mailboxes.
    Column("agency", String(64), nullable=False),
    Column("route", String(200), nullable=False),
    #: Id of the probe message's token.
    Column("token_id", String(32), nullable=False),
    Column("started_at", UtcDateTime, nullable=False),
    #: Seconds.
    Column("duration", Float, nullable=False),
    Column("outcome", String(16), nullable=False),
    #: The remaining fields of `probes.model.result.ProbeResult`, as JSON.
    Column("result", Text, nullable=False),
    Index("ix_run_of_route", "agency", "route", "started_at"),
    Index("ix_run_of_outcome", "outcome", "started_at"),
)


def _count_columns() -> tuple[Column[Any], ...]:
    return (
        Column("runs", Integer, nullable=False),
        #: Minutes of the hour in which runs began, as bits: bit 0 is the first minute. In a gap longer than `interval`
        #: the route was not monitored.
        Column("minutes", BigInteger, nullable=False),
        #: The probe interval of the route, in seconds; 0: unknown.
        Column("interval", Integer, nullable=False),
        #: Seconds from the start to the end of the runs: sum and maximum.
        Column("duration", Float, nullable=False),
        Column("longest", Float, nullable=False),
        #: Seconds in transit of the messages, if known: sum and maximum.
        Column("transit", Float, nullable=False),
        Column("slowest", Float, nullable=False),
    )


#: Counts of a route's runs that began in one hour and have the same outcome and grade. They are kept longer than the
#: runs.
hour = Table(
    "hour",
    metadata,
    Column("agency", String(64), primary_key=True),
    Column("route", String(200), primary_key=True),
    #: Start of the hour.
    Column("starts_at", UtcDateTime, primary_key=True),
    Column("outcome", String(16), primary_key=True),
    #: Grade of the runs (`monitor.model.health.Grade`); "": unknown.
    Column("grade", String(8), primary_key=True),
    *_count_columns(),
    Index("ix_hour_begins", "starts_at"),
    sqlite_with_rowid=False,
)

#: State of an agency's mail in each minute of a day in Malaysia (`monitor.model.day`).
day = Table(
    "day",
    metadata,
    Column("agency", String(64), primary_key=True),
    Column("date", Date, primary_key=True),
    #: "-480w615s30": a letter for each state (`MinuteState`), and its number of minutes.
    Column("minutes", Text, nullable=False),
    Index("ix_day_date", "date"),
    sqlite_with_rowid=False,
)

#: Tokens of sent probe messages. By its token, a late, duplicate or forged message is recognised after a restart.
token = Table(
    "token",
    metadata,
    Column("id", String(32), primary_key=True),
    Column("route", String(200), nullable=False),
    Column("sent_at", UtcDateTime, nullable=False),
    #: A message that arrives after this time is late.
    Column("deadline", UtcDateTime, nullable=False),
    #: When the message arrived, in time or late; NULL: it is missing.
    Column("arrived_at", UtcDateTime),
    #: For the tokens of the few missing messages, which are read after every restart and kept longer than the others.
    Index("ix_token_missing", "sent_at", **_partial_index("arrived_at IS NULL")),
    Index("ix_token_came", "sent_at", **_partial_index("arrived_at IS NOT NULL")),
)

#: The latest health of each route and of each component of Pantau.
health = Table(
    "health",
    metadata,
    Column("subject", String(200), primary_key=True),
    Column("health", String(16), nullable=False),
    Column("since", UtcDateTime, nullable=False),
)

#: The latest runs of a route or component that contradict its health. They are restored after a restart, so that they
#: count towards the next change of health.
streak = Table(
    "streak",
    metadata,
    Column("subject", String(200), primary_key=True),
    #: JSON, the oldest first (`monitor.evaluation.health_tracker.GradedRun`); []: no run contradicts the health.
    Column("runs", Text, nullable=False),
)

#: Status of an agency or of a component of Pantau at a site (`monitor.evaluation.joint.site_status`). On PostgreSQL,
#: each site to which this hub subscribes has a partition; all other rows are in `rest_of_site_status`.
site_status = Table(
    "site_status",
    metadata,
    Column("site", String(64), primary_key=True),
    #: Dedup key that an incident about it would have.
    Column("subject", String(200), primary_key=True),
    #: Type of the problem; NULL: no problem, or unknown. `since` is NULL if and only if `type` is NULL.
    Column("type", String(16)),
    Column("cause", String(16)),
    Column("since", UtcDateTime),
    #: When the latest failure that belongs to the problem began.
    Column("latest", UtcDateTime),
    #: Whether the problem comes and goes.
    Column("flapping", Boolean, nullable=False),
    #: Since when everything works. If this and `type` are NULL, the status is undecided, unknown or flapping.
    Column("up_since", UtcDateTime),
    #: JSON: the health of each probed direction.
    Column("directions", Text, nullable=False),
    #: JSON: the routes that fail.
    Column("failing_routes", Text, nullable=False),
    sqlite_with_rowid=False,
    postgresql_partition_by="LIST (site)",
)

#: Latest heartbeat of each site. Replication transfers it after all earlier statuses of the site. Partitioned like
#: `site_status`.
site_heartbeat = Table(
    "site_heartbeat",
    metadata,
    Column("site", String(64), primary_key=True),
    #: By the site's clock.
    Column("at", UtcDateTime, nullable=False),
    #: Monotonic clock of the process, in microseconds, and random id of the process's run (`freshness.SiteHeartbeat`).
    Column("monotonic", BigInteger, nullable=False),
    Column("incarnation", String(64), nullable=False),
    sqlite_with_rowid=False,
    postgresql_partition_by="LIST (site)",
)

#: Published runs with another outcome than `delivered` (`monitor.store.probing.site_runs`): at a hub the runs of its
#: sites, at a site its own. Partitioned like `site_status`. A run that is published twice has two rows, because the key
#: includes `published_at`.
site_run = Table(
    "site_run",
    metadata,
    Column("site", String(64), primary_key=True),
    Column("agency", String(64), primary_key=True),
    Column("started_at", UtcDateTime, primary_key=True),
    Column("token_id", String(32), primary_key=True),
    Column("published_at", UtcDateTime, primary_key=True),
    Column("route", String(200), nullable=False),
    Column("duration", Float, nullable=False),
    Column("outcome", String(16), nullable=False),
    Column("result", Text, nullable=False),
    Index("ix_site_run_of_agency", "site", "agency", "started_at"),
    Index("ix_site_run_started_at", "started_at"),
    sqlite_with_rowid=False,
    postgresql_partition_by="LIST (site)",
)

#: Published hourly counts, with the columns of `hour`: at a hub the counts of its sites, at a site its own. If an hour
#: was published twice, the row with more runs is valid.
site_hour = Table(
    "site_hour",
    metadata,
    Column("site", String(64), primary_key=True),
    Column("agency", String(64), primary_key=True),
    Column("starts_at", UtcDateTime, primary_key=True),
    Column("route", String(200), primary_key=True),
    Column("outcome", String(16), primary_key=True),
    Column("grade", String(8), primary_key=True),
    Column("published_at", UtcDateTime, primary_key=True),
    *_count_columns(),
    Index("ix_site_hour_of_agency", "site", "agency", "starts_at"),
    Index("ix_site_hour_begins", "starts_at"),
    sqlite_with_rowid=False,
    postgresql_partition_by="LIST (site)",
)

#: Problems of an agency or of a component of Pantau (`alerts.model.incident.Incident`).
incident = Table(
    "incident",
    metadata,
    _id(),
    #: Key of the problem, such as an agency's code, or "ours/..." for a fault source.
    Column("dedup_key", String(200), nullable=False),
    #: The number that people quote: "JKR-07".
    Column("number", String(32), nullable=False, unique=True),
    #: Code of the agency; "" for a monitoring fault (a fault of our own side).
    Column("agency", String(64), nullable=False),
    #: Worst type so far.
    Column("type", String(16), nullable=False),
    Column("state", String(16), nullable=False),
    #: JSON: the escalation policy as configured when the incident opened.
    Column("policy", Text, nullable=False),
    #: When the problem began, and when Pantau opened the incident.
    Column("began_at", UtcDateTime, nullable=False),
    Column("opened_at", UtcDateTime, nullable=False),
    #: When the incident opened, or became worse.
    Column("since", UtcDateTime, nullable=False),
    #: Current type, and since when; NULL in rows of older versions: the same as when the incident opened.
    Column("current_type", String(16)),
    Column("current_type_since", UtcDateTime),
    #: When the problem of `type` began, and the problem of `current_type`; NULL: at `began_at`.
    Column("type_began_at", UtcDateTime),
    Column("current_type_began_at", UtcDateTime),
    #: When the first outage of the incident began; NULL: there was no outage.
    Column("outage_began_at", UtcDateTime),
    #: Position in the escalation: how often it was started anew, the round (pass through all steps, from 0), the step
    #: (-1: before the first), and when the step started.
    Column("restarts", Integer, nullable=False),
    Column("round", Integer, nullable=False),
    Column("step", Integer, nullable=False),
    Column("step_since", UtcDateTime, nullable=False),
    Column("acknowledged_at", UtcDateTime),
    Column("acknowledged_by", String(200)),
    #: When the assignee (who acknowledged) last acted and was last reminded, and the name of the previous assignee.
    Column("last_response_at", UtcDateTime),
    Column("reminded_at", UtcDateTime),
    Column("previous_assignee", String(200)),
    #: Whether the previous assignee escalated the incident.
    Column("escalated", Boolean, nullable=False, server_default=false()),
    #: When a person permitted the announcement to the agency's recipients, and who.
    Column("released_at", UtcDateTime),
    Column("released_by", String(200)),
    #: When the incident was closed (NULL: it is open), and when the problem ended.
    Column("resolved_at", UtcDateTime),
    Column("ended_at", UtcDateTime),
    #: When a person marked it as a false alarm.
    Column("false_alarm_at", UtcDateTime),
    Column("false_alarm_by", String(200)),
    Column("false_alarm_reason", Text),
    #: Whether mail was down and up repeatedly before the incident opened.
    Column("flapping", Boolean, nullable=False, server_default=false()),
    #: The type that the probes detected last; NULL: they detect no problem, so that only a declaration keeps it open.
    Column("detected", String(16)),
    #: The outage that a person declared, whatever the probes find.
    Column("declared_type", String(16)),
    Column("declared_at", UtcDateTime),
    Column("declared_by", String(200)),
    Column("declared_reason", Text),
    Column("declared_ended_at", UtcDateTime),
    Column("declared_ended_by", String(200)),
    #: When, by whom and why the incident was closed by hand, and whether that person stated that mail works.
    Column("closed_at", UtcDateTime),
    Column("closed_by", String(200)),
    Column("closed_reason", Text),
    Column("closed_recovered", Boolean),
    #: After the store was restored from an older copy: the highest page number that letters and faxes about the
    #: incident may have, after which the numbers continue; 0: the store was not restored.
    Column("skipped_pages", Integer, nullable=False, server_default=text("0")),
    #: Whether no action is due, so that no engine (the part of a process that processes incidents) reads the incident.
    Column("at_rest", Boolean, nullable=False, default=False),
    #: The engine that processes the incident, and the end of its lease (an exclusive right that the engine renews). An
    #: engine that does not share the database takes no lease.
    Column("owner", String(200)),
    Column("owned_until", UtcDateTime),
    #: Whether another engine has changed the incident, so that its owner has to process it.
    Column("nudged", Boolean, nullable=False, server_default=false()),
    #: There is at most one open incident per subject, even if two processes decide at the same time.
    Index("uq_incident_open", "dedup_key", unique=True, **_partial_index("resolved_at IS NULL")),
    #: Only the few active incidents are processed.
    Index("ix_incident_active", "id", sqlite_where=text("at_rest IS 0"), postgresql_where=text("at_rest IS false")),
    Index("ix_incident_nudged", "owner", sqlite_where=text("nudged = 1"), postgresql_where=text("nudged")),
    Index("ix_incident_dedup_key", "dedup_key"),
    Index("ix_incident_opened_at", "opened_at"),
    Index("ix_incident_resolved_at", "resolved_at"),
)

#: Messages to one person (`alerts.model.delivery.Notification`).
notification = Table(
    "notification",
    metadata,
    _id(),
    #: Incident, plan, step, round, purpose and person in one string, so that a repeated decision writes once.
    Column("key", String(300), nullable=False, unique=True),
    #: Escalation to staff, or announcement to recipients.
    Column("plan", String(16), nullable=False),
    Column("purpose", String(16), nullable=False),
    #: Key of the contact or recipient.
    Column("person", String(64), nullable=False),
    Column("language", String(8), nullable=False),
    #: JSON: values for the text; addresses, in order of preference; addressee of a fax or letter (NULL: none).
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
    #: Until when the notification waits for more incidents to join, or for a rate limit.
    Column("not_before", UtcDateTime),
    Column("created_at", UtcDateTime, nullable=False),
    #: After this time the notification is not sent any more.
    Column("expires_at", UtcDateTime, nullable=False),
    Index("ix_notification_state", "state"),
    Index("ix_notification_gathering_created_at", "bundle_key", "created_at"),
)

#: The incidents that a notification is about: one, or several that began together (a *bundle*).
notification_incident = Table(
    "notification_incident",
    metadata,
    Column("notification_id", ForeignKey("notification.id"), primary_key=True),
    Column("incident_id", ForeignKey("incident.id"), primary_key=True),
    #: Key of the decision that added the incident, so that a repeated decision writes once, bundled or not.
    Column("key", String(300), nullable=False, unique=True),
    #: Key of the recipient in this incident's policy. Another agency may use the same key for another person.
    Column("person", String(64), nullable=False),
    Column("facts", Text, nullable=False),
    Column("restarts", Integer, nullable=False),
    Column("round", Integer, nullable=False),
    Column("step", Integer, nullable=False),
    #: When the incident left the unsent notification, because it was acknowledged or resolved; NULL: the notification
    #: mentions it.
    Column("left_at", UtcDateTime),
    Index("ix_notification_incident_incident_id", "incident_id"),
)

#: Silences: for a time nobody is notified of incidents about a subject.
silence = Table(
    "silence",
    metadata,
    _id(),
    #: An incident's dedup key: an agency's code, or "ours/...".
    Column("target", String(200), nullable=False),
    Column("starts_at", UtcDateTime, nullable=False),
    #: Exclusive end; for a removed silence, the time of the removal.
    Column("ends_at", UtcDateTime, nullable=False),
    Column("reason", Text, nullable=False),
    Column("by", String(200), nullable=False),
    Index("ix_silence_ends", "ends_at"),
)

#: Deliveries of a notification, each to one address.
delivery = Table(
    "delivery",
    metadata,
    _id(),
    Column("notification_id", ForeignKey("notification.id"), nullable=False),
    Column("channel", String(8), nullable=False),
    #: Telephone number or address, and extension behind a switchboard ("": none).
    Column("number", String(200), nullable=False),
    Column("extension", String(32), nullable=False),
    UniqueConstraint("notification_id", "channel", "number", "extension"),
    Index("ix_delivery_number", "number"),
)

#: Requests to a gateway to send a delivery (`alerts.model.delivery.Attempt`).
attempt = Table(
    "attempt",
    metadata,
    _id(),
    Column("delivery_id", ForeignKey("delivery.id"), nullable=False),
    #: Number within the delivery, from 1.
    Column("n", Integer, nullable=False),
    #: Pantau's reference of the attempt, which the gateway receives.
    Column("reference", String(64), nullable=False, unique=True),
    Column("gateway", String(64), nullable=False),
    Column("state", String(16), nullable=False),
    #: Rank of the state (`RANK`). A late callback never lowers it.
    Column("rank", Integer, nullable=False),
    Column("started_at", UtcDateTime, nullable=False),
    #: When the gateway is next asked for the state of the message, and how often it was asked.
    Column("query_at", UtcDateTime, nullable=False),
    Column("queries", Integer, nullable=False),
    #: Identifier that the provider returned.
    Column("provider_id", String(200)),
    #: Class, code and text of the error; NULL and "": none.
    Column("error", String(16)),
    Column("code", String(64), nullable=False),
    Column("detail", Text, nullable=False),
    #: When the message arrived or failed, or the call ended; NULL: unknown.
    Column("ended_at", UtcDateTime),
    #: The response code in the SMS; "": the SMS has none.
    Column("response", String(8), nullable=False, server_default=text("''")),
    UniqueConstraint("delivery_id", "n"),
    Index("ix_attempt_started_at", "started_at"),
    Index("ix_attempt_state_look_at", "state", "query_at"),
    Index("ix_attempt_gateway_started_at", "gateway", "state", "started_at"),
)

#: A clerk's records that a letter was printed or posted. Each step has one row, because only the first record counts.
letter_step = Table(
    "letter_step",
    metadata,
    Column("attempt_id", ForeignKey("attempt.id"), primary_key=True),
    Column("step", String(16), primary_key=True),
    Column("at", UtcDateTime, nullable=False),
    Column("by", String(200), nullable=False),
    #: Day of posting that the clerk entered; NULL: the day of `at`.
    Column("day", Date),
)

#: Response codes: short numbers that a person sends by SMS to acknowledge.
response_code = Table(
    "response_code",
    metadata,
    _id(),
    Column("number", String(32), nullable=False),
    Column("code", Integer, nullable=False),
    #: Ids of the incidents, each with whether it is an outage. Repeated notifications about the same incidents have the
    #: same code on a phone.
    Column("about", String(200), nullable=False),
    #: The latest notification with this code.
    Column("notification_id", ForeignKey("notification.id"), nullable=False),
    Column("given_at", UtcDateTime, nullable=False),
    UniqueConstraint("number", "about"),
    Index("ix_response_code_notification_id", "notification_id"),
)

#: Numbers that have sent an SMS.
sms_number = Table(
    "sms_number",
    metadata,
    Column("number", String(32), primary_key=True),
    #: When its owner opted out of SMS; NULL: never.
    Column("stopped_at", UtcDateTime),
    #: Number of consecutive answers that were not understood.
    Column("unrecognised", Integer, nullable=False),
)

#: Attempts to type a PIN in a telephone call, accepted or not, without the digits.
pin_attempt = Table(
    "pin_attempt",
    metadata,
    _id(),
    #: Reference of the call (`attempt.reference`).
    Column("reference", String(64), nullable=False),
    Column("agency", String(64), nullable=False),
    Column("person", String(64), nullable=False),
    Column("at", UtcDateTime, nullable=False),
    Column("accepted", Boolean, nullable=False),
    Index("ix_pin_attempt_person_at", "person", "at"),
)

#: Processed callbacks of providers, which may send a callback repeatedly.
callback_event = Table(
    "callback_event",
    metadata,
    Column("gateway", String(64), primary_key=True),
    Column("event_id", String(200), primary_key=True),
    Column("at", UtcDateTime, nullable=False),
)

#: The latest state of each alert that the NOC's (network operations centre's) own monitoring has sent to Pantau, by the
#: fingerprint of its labels.
received_alert = Table(
    "received_alert",
    metadata,
    Column("fingerprint", String(16), primary_key=True),
    #: When the alert began to fire last. Together with the fingerprint, the time identifies the alert.
    Column("starts_at", UtcDateTime, nullable=False),
    #: NULL: the alert fires.
    Column("ended_at", UtcDateTime),
    #: When the alert was last received.
    Column("received_at", UtcDateTime, nullable=False),
    #: Dedup key of the incident that several alerts share; NULL: the alert has its own incident.
    Column("merged_into", String(200)),
    Index("ix_received_alert_heard_at", "received_at"),
    Index("ix_received_alert_folded_into", "merged_into", **_partial_index("merged_into IS NOT NULL")),
)

#: Next incident number to assign (*next*), by prefix of the numbers (*name*).
counter = Table(
    "counter",
    metadata,
    Column("name", String(64), primary_key=True),
    Column("next", Integer, nullable=False),
)

#: The audit log: decisions, messages, answers and actions, each with its author, in a hash chain
#: (`alerts.persistence.audit`). Triggers make the table append-only. A migration that copies this table (batch mode on
#: SQLite) loses the triggers and must recreate them.
audit_log = Table(
    "audit_log",
    metadata,
    #: Number of the entry in the chain, without gaps.
    Column("id", Integer, primary_key=True, autoincrement=False),
    Column("at", UtcDateTime, nullable=False),
    Column("actor", String(200), nullable=False),
    Column("event", String(200), nullable=False),
    Column("incident_id", Integer),
    Column("notification_id", Integer),
    Column("detail", JSON, nullable=False),
    #: Hash of the previous entry. It is unique, so that the chain cannot fork.
    Column("previous", String(64), nullable=False, unique=True),
    #: Hash of the content, and hash of `content` together with `previous`.
    Column("content", String(64), nullable=False),
    Column("hash", String(64), nullable=False),
    #: Number of the entry that records the purge of this entry's content; NULL: not purged.
    Column("purged_by", Integer),
    #: Contains only entries about an incident. Otherwise SQLite would use this index to find entries about no incident.
    Index("ix_audit_log_incident_id", "incident_id", **_partial_index("incident_id IS NOT NULL")),
    Index("ix_audit_log_notification_id", "notification_id", **_partial_index("notification_id IS NOT NULL")),
    #: Entries of an actor or of an event, the newest first.
    Index("ix_audit_log_actor", "actor", "id"),
    Index("ix_audit_log_event", "event", "id"),
    Index("ix_audit_log_checkpoint", "id", **_partial_index(f"event = '{CHECKPOINT}'")),
    #: Entries that a purge selects by their time: neither about an incident or notification, nor purged yet.
    Index(
        "ix_audit_log_about_none",
        "at",
        **_partial_index("incident_id IS NULL AND notification_id IS NULL AND purged_by IS NULL"),
    ),
)

#: Number and hash of the last entry of the audit log. The table has one row, which each writer locks.
audit_head = Table(
    "audit_head",
    metadata,
    Column("id", Integer, primary_key=True, autoincrement=False),
    Column("number", Integer, nullable=False),
    Column("hash", String(64), nullable=False),
)

#: Restorations: the store is, or may be, an older copy. Letters and faxes are paused until a person resumes them
#: (`confirmed_at`).
restoration = Table(
    "restoration",
    metadata,
    _id(),
    #: How it was detected (`DetectionMethod`), and when.
    Column("how", String(16), nullable=False),
    Column("noticed_at", UtcDateTime, nullable=False),
    #: Time of the last write in the copy; NULL: unknown.
    Column("since", UtcDateTime),
    #: Who restored the copy; "": Pantau detected the older copy.
    Column("by", String(200), nullable=False),
    #: Last used incident number by prefix, and last used page number by incident number, as that person stated.
    Column("numbers", JSON, nullable=False),
    Column("pages", JSON, nullable=False),
    #: First and last skipped incident number by prefix; NULL: not determined yet.
    Column("skipped", JSON(none_as_null=True)),
    Column("confirmed_at", UtcDateTime),
    Column("confirmed_by", String(200), nullable=False),
    Column("reason", Text, nullable=False),
)

#: Processes on this store, and when each last wrote.
process = Table(
    "process",
    metadata,
    Column("name", String(64), primary_key=True),
    Column("started_at", UtcDateTime, nullable=False),
    Column("heartbeat_at", UtcDateTime, nullable=False),
    #: When the process stopped in an orderly way; NULL: it runs, or was killed.
    Column("stopped_at", UtcDateTime),
    #: Sum of the version numbers of the agency documents that the process uses (`Documents.revision_sum`); NULL: the
    #: process uses files, or has not written the sum yet.
    Column("documents", BigInteger),
    #: JSON: the agencies whose documents the process uses, and a digest of that text; NULL: not written yet.
    Column("agencies", Text),
    Column("agencies_digest", String(64)),
    #: End of the last interruption of the site's evaluation of health; NULL: no interruption is known.
    Column("continuous_since", UtcDateTime),
)

#: The latest request to run all routes of an agency now. A hub writes it into the stores of its sites.
probe_request = Table(
    "probe_request",
    metadata,
    Column("agency", String(64), primary_key=True),
    Column("requested_at", UtcDateTime, nullable=False),
)

#: Drills: each sends test messages to contacts by all gateways.
drill = Table(
    "drill",
    metadata,
    _id(),
    #: Key of the scheduled time, or of the request, that started the drill, so that two processes start it only once.
    Column("key", String(64), nullable=False, unique=True),
    #: Number of the drill, with which the numbers of its notifications begin.
    Column("number", String(32), nullable=False),
    Column("requested_by", String(200), nullable=False),
    #: Key of the contact, or "all"; with the prefix "JCM/", only contacts of that agency are tested.
    Column("contact", String(64), nullable=False),
    Column("starts_at", UtcDateTime, nullable=False),
    #: After this time no more messages are sent.
    Column("ends_at", UtcDateTime, nullable=False),
    Column("ended_at", UtcDateTime),
    Index("ix_drill_contact_ended_at", "contact", "ended_at"),
    Index("ix_drill_ended_at", "ended_at"),
)

#: One notification of a drill, to one address by one gateway. The row is written before the request to the gateway, and
#: the notification is never sent again.
drill_notification = Table(
    "drill_notification",
    metadata,
    _id(),
    #: Drill, contact, address and gateway in one string.
    Column("key", String(300), nullable=False, unique=True),
    Column("drill_id", ForeignKey("drill.id"), nullable=False),
    Column("agency", String(64), nullable=False),
    #: Key and name of the contact.
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
    Column("started_at", UtcDateTime, nullable=False),
    Column("query_at", UtcDateTime),
    #: When the provider reported the arrival.
    Column("delivered_at", UtcDateTime),
    #: When the person confirmed the telephone call by pressing a key.
    Column("confirmed_at", UtcDateTime),
    Index("ix_drill_notification_drill_id", "drill_id"),
    Index("ix_drill_notification_contact_confirmed_at", "agency", "contact", "confirmed_at"),
    Index("ix_drill_notification_contact_begun_at", "agency", "contact", "channel", "state", "started_at"),
    Index("ix_drill_notification_number_confirmed_at", "number", "confirmed_at"),
    Index("ix_drill_notification_gateway_begun_at", "gateway", "state", "started_at"),
)

#: On-call overrides, which replace a person on a rota for a time. Removed rows are kept to show who was on call.
override = Table(
    "override",
    metadata,
    _id(),
    #: "CODE/key" of an agency's rota, "key" of a shared rota.
    Column("rota", String(100), nullable=False),
    #: JSON: the substitute, as configured when the override was created.
    Column("contact", Text, nullable=False),
    Column("starts_at", UtcDateTime, nullable=False),
    Column("ends_at", UtcDateTime, nullable=False),
    Column("made_by", String(200), nullable=False),
    Column("made_at", UtcDateTime, nullable=False),
    Column("removed_by", String(200)),
    Column("removed_at", UtcDateTime),
    Index("ix_override_ends", "ends_at"),
)

#: Calendar feeds of rotas, for programs that send a key because they cannot sign in. Revoked rows are kept to show who
#: could read a rota.
rota_feed = Table(
    "rota_feed",
    metadata,
    _id(),
    Column("rota", String(100), nullable=False),
    #: SHA-256 of the key.
    Column("digest", String(64), nullable=False, unique=True),
    #: Name of the user who created the feed. The feed is valid while that user may see the rota.
    Column("user", String(64), nullable=False),
    Column("made_at", UtcDateTime, nullable=False),
    Column("revoked_by", String(200)),
    Column("revoked_at", UtcDateTime),
    Index("ix_rota_feed_rota", "rota"),
)

#: Users of the portal. Rows are never deleted, because the audit log and old sessions refer to them.
portal_user = Table(
    "portal_user",
    metadata,
    _id(),
    Column("name", String(64), nullable=False, unique=True),
    Column("full_name", String(100), nullable=False),
    #: Password hash of argon2id, as a PHC string; NULL: the user has not chosen a password yet.
    Column("password", Text),
    #: Number of consecutive failed passwords, and the time of the last one (`monitor.access.lockout`).
    Column("failures", Integer, nullable=False),
    Column("failed_at", UtcDateTime),
    #: Number of consecutive failed one-time codes (after a correct password), and the time of the last one.
    Column("code_failures", Integer, nullable=False, server_default="0"),
    Column("code_failed_at", UtcDateTime),
    #: Until when the user is exempt from delays after failures.
    Column("unlocked_until", UtcDateTime),
    Column("made_by", String(200), nullable=False),
    Column("made_at", UtcDateTime, nullable=False),
    Column("disabled_at", UtcDateTime),
    #: Time step (RFC 6238) of the last used one-time code; NULL: the user has no second factor.
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
    Column("started_at", UtcDateTime, nullable=False),
    #: Time of the last request, rounded to the minute.
    Column("seen_at", UtcDateTime, nullable=False),
    Column("ends_at", UtcDateTime, nullable=False),
    #: IP address of the client.
    Column("address", String(64), nullable=False),
    Index("ix_web_session_user_id", "user_id"),
)

#: Invitation codes, with which a user may choose a password. Each user has one at most: the latest, until it is used.
invitation_code = Table(
    "invitation_code",
    metadata,
    Column("user_id", ForeignKey("portal_user.id"), primary_key=True),
    #: For the telephone (a short code) or for a letter (`CodeKind`).
    Column("kind", String(16), nullable=False),
    #: SHA-256 of the code; for a short code, its argon2id hash as a PHC string.
    Column("digest", Text, nullable=False),
    Column("made_by", String(200), nullable=False),
    Column("made_at", UtcDateTime, nullable=False),
    Column("ends_at", UtcDateTime, nullable=False),
)

#: External accounts of users. An account is identified by issuer and subject alone (OpenID Connect Core 1.0, 5.7).
openid_identity = Table(
    "openid_identity",
    metadata,
    Column("issuer", String(255), primary_key=True),
    Column("subject", String(255), primary_key=True),
    Column("user_id", ForeignKey("portal_user.id"), nullable=False),
    Column("linked_at", UtcDateTime, nullable=False),
    Index("ix_openid_identity_user_id", "user_id"),
)

#: API tokens of programs. Rows are never deleted, because the audit log refers to a token by its id.
api_token = Table(
    "api_token",
    metadata,
    _id(),
    Column("name", String(64), nullable=False),
    #: SHA-256 of the token.
    Column("digest", String(64), nullable=False, unique=True),
    Column("made_by", String(200), nullable=False),
    Column("made_at", UtcDateTime, nullable=False),
    Column("ends_at", UtcDateTime, nullable=False),
    #: Time of the last request, rounded to the minute.
    Column("used_at", UtcDateTime),
    Column("revoked_at", UtcDateTime),
)

#: Roles of tokens, per agency.
token_role = Table(
    "token_role",
    metadata,
    Column("token_id", ForeignKey("api_token.id"), primary_key=True),
    Column("role", String(16), primary_key=True),
    Column("agency", String(64), primary_key=True),
)

#: Responses to requests with an idempotency key, kept for a day, so that a repeated request is executed only once.
idempotency_record = Table(
    "idempotency_record",
    metadata,
    #: Who sent the request: "token 3" (id), "user 1" (id), "api konsol-noc" (a program in the settings).
    Column("principal", String(100), primary_key=True),
    Column("key", String(200), primary_key=True),
    #: SHA-256 of the request.
    Column("digest", String(64), nullable=False),
    Column("started_at", UtcDateTime, nullable=False),
    #: HTTP status; NULL: the request is being executed, or its outcome is unknown.
    Column("status", Integer),
    Column("body", Text),
    Index("ix_idempotency_record_begun_at", "started_at"),
)

#: Pending sessions: the password was correct, and the second factor is missing.
pending_session = Table(
    "pending_session",
    metadata,
    #: SHA-256 of the key in the cookie.
    Column("digest", String(64), primary_key=True),
    Column("user_id", ForeignKey("portal_user.id"), nullable=False),
    Column("ends_at", UtcDateTime, nullable=False),
    Index("ix_pending_session_user_id", "user_id"),
)

#: Recovery codes. Each can be used once in place of a lost second factor.
recovery_code = Table(
    "recovery_code",
    metadata,
    Column("user_id", ForeignKey("portal_user.id"), primary_key=True),
    #: SHA-256, which is enough for a code of 120 bits.
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
    #: Identifier of the key that encrypted the secret.
    Column("key_id", String(16), nullable=False),
    Column("ciphertext", Text, nullable=False),
    Column("written_by", String(200), nullable=False),
    Column("written_at", UtcDateTime, nullable=False),
)

#: Links for wallboards (screens in an operations centre), which are read without a sign-in.
wallboard_link = Table(
    "wallboard_link",
    metadata,
    _id(),
    #: SHA-256 of the key in the link.
    Column("digest", String(64), nullable=False, unique=True),
    Column("name", String(100), nullable=False),
    #: Codes of the shown agencies; NULL: all.
    Column("agencies", JSON(none_as_null=True)),
    Column("made_by", String(200), nullable=False),
    Column("made_at", UtcDateTime, nullable=False),
    Column("ends_at", UtcDateTime, nullable=False),
)

#: Notices of planned maintenance to an agency's recipients. Each has an entry in the audit log, and is purged with it.
maintenance_notice = Table(
    "maintenance_notice",
    metadata,
    _id(),
    #: Id of the audit entry about its creation.
    Column("entry", Integer, nullable=False, unique=True),
    Column("agency", String(64), nullable=False),
    #: Reference number of the notice. Agencies whose codes begin with the same letters share a sequence.
    Column("number", String(32), nullable=False, unique=True),
    #: Whether the maintenance is new, changed or cancelled.
    Column("kind", String(32), nullable=False),
    #: Period of the maintenance.
    Column("starts_at", UtcDateTime, nullable=False),
    Column("ends_at", UtcDateTime, nullable=False),
    Column("reason", Text, nullable=False),
    Column("made_by", String(200), nullable=False),
    Column("made_at", UtcDateTime, nullable=False),
    #: Reference number of the notice that this one replaces; NULL: none.
    Column("replaces", String(32)),
    #: For searches by agency, which only find notices about present and future maintenance.
    Index("ix_maintenance_notice_agency_ends", "agency", "ends_at"),
    Index("ix_maintenance_notice_replaces", "replaces"),
)
