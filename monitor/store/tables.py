"""The tables. Names are the words of the design; what must happen once has a unique key.

Migrations under `migrations/` create them; a test compares the two.
"""

from __future__ import annotations

from datetime import UTC, datetime

from sqlalchemy import (
    JSON,
    Boolean,
    Column,
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
    text,
)

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

#: Ends of probe runs. Kept 12 months by default.
run = Table(
    "run",
    metadata,
    _id(),
    Column("agency", String(64), nullable=False),
    Column("route", String(200), nullable=False),
    Column("token_id", String(32), nullable=False),
    Column("started_at", Moment, nullable=False),
    Column("duration", Float, nullable=False),
    Column("outcome", String(16), nullable=False),
    Column("result", Text, nullable=False),
    Index("ix_run_route_started_at", "route", "started_at"),
    Index("ix_run_token_id", "token_id"),
    Index("ix_run_started_at", "started_at"),
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
    Index("ix_token_sent_at", "sent_at"),
    #: Few have not come, and those are looked for after every restart.
    Index(
        "ix_token_missing",
        "sent_at",
        sqlite_where=text("came_at IS NULL"),
        postgresql_where=text("came_at IS NULL"),
    ),
)

#: How each route and each suspect of our own was last judged.
health = Table(
    "health",
    metadata,
    Column("subject", String(200), primary_key=True),
    Column("health", String(16), nullable=False),
    Column("since", Moment, nullable=False),
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
    Column("wave", Integer, nullable=False),
    Column("round", Integer, nullable=False),
    Column("step", Integer, nullable=False),
    Column("step_since", Moment, nullable=False),
    Column("acknowledged_at", Moment),
    Column("acknowledged_by", String(200)),
    Column("released_at", Moment),
    Column("released_by", String(200)),
    Column("resolved_at", Moment),
    Column("ended_at", Moment),
    #: Nothing more is owed to anybody about it.
    Column("at_rest", Boolean, nullable=False, default=False),
    #: One open incident about a thing, whatever two processes may decide at the same time.
    Index(
        "uq_incident_open",
        "dedup_key",
        unique=True,
        sqlite_where=text("resolved_at IS NULL"),
        postgresql_where=text("resolved_at IS NULL"),
    ),
    Index("ix_incident_at_rest", "at_rest"),
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
    Column("created_at", Moment, nullable=False),
    Column("expires_at", Moment, nullable=False),
    Index("ix_notice_state", "state"),
)

#: A notice tells of one incident or, when many fail at once, of several.
notice_incident = Table(
    "notice_incident",
    metadata,
    Column("notice_id", ForeignKey("notice.id"), primary_key=True),
    Column("incident_id", ForeignKey("incident.id"), primary_key=True),
    Index("ix_notice_incident_incident_id", "incident_id"),
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
    UniqueConstraint("delivery_id", "n"),
)

#: Callbacks already heard; providers repeat them.
heard = Table(
    "heard",
    metadata,
    Column("gateway", String(64), primary_key=True),
    Column("event_id", String(200), primary_key=True),
    Column("at", Moment, nullable=False),
)

#: The next number of an agency's incidents.
counter = Table(
    "counter",
    metadata,
    Column("name", String(64), primary_key=True),
    Column("next", Integer, nullable=False),
)

#: What was decided, sent, received, and by whom. Only ever added to.
journal = Table(
    "journal",
    metadata,
    _id(),
    Column("at", Moment, nullable=False),
    Column("actor", String(200), nullable=False),
    Column("event", String(200), nullable=False),
    Column("incident_id", Integer),
    Column("notice_id", Integer),
    Column("detail", JSON, nullable=False),
    Index("ix_journal_incident_id", "incident_id"),
)
