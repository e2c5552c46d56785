"""The tables, as SQLAlchemy Core; names are a contract (DESIGN.md, Database). All times are ms UTC.

A change here needs a new revision in migrations/versions and its name at the end of REVISIONS: a test compares both.
"""

from __future__ import annotations

from sqlalchemy import (
    BigInteger,
    Boolean,
    CheckConstraint,
    Column,
    Float,
    ForeignKey,
    Index,
    Integer,
    MetaData,
    PrimaryKeyConstraint,
    SmallInteger,
    String,
    Table,
    Text,
    UniqueConstraint,
    text,
    true,
)

REVISIONS = ("0001", "0002", "0003", "0004")
"""Every schema revision this program knows, oldest first; the last one is what `metadata` describes."""

STORED = "stored"
ABSENT = "absent"
JOB_KINDS = ("tail", "gap", "backfill", "heal", "recheck")
JOB_STATUSES = ("queued", "leased", "done", "failed")
BREAKER_STATES = ("closed", "open", "half-open")
FILE_STATES = ("read", "suspect", "missing")

metadata = MetaData(
    naming_convention={
        "pk": "pk_%(table_name)s",
        "fk": "fk_%(table_name)s_%(column_0_N_name)s",
        "uq": "uq_%(table_name)s_%(column_0_N_name)s",
        "ix": "ix_%(table_name)s_%(column_0_N_name)s",
        "ck": "ck_%(table_name)s_%(constraint_name)s",
    }
)

# SQLite numbers rows by itself only where the key is spelled INTEGER.
_Key = BigInteger().with_variant(Integer, "sqlite")


def _one_of(column: str, values: tuple[str, ...]) -> CheckConstraint:
    return CheckConstraint(f"{column} IN ({', '.join(map(repr, values))})", name=column)


def _span() -> CheckConstraint:
    return CheckConstraint("end_ms > start_ms", name="span")


def _values() -> list[Column[float] | Column[int]]:
    """The value columns of a candle; prices in quote currency, NULL where the source does not say."""
    return [
        Column("open", Float(53), nullable=False),
        Column("high", Float(53), nullable=False),
        Column("low", Float(53), nullable=False),
        Column("close", Float(53), nullable=False),
        Column("volume", Float(53)),
        Column("quote_volume", Float(53)),
        Column("trades", BigInteger),
        Column("taker_base", Float(53)),
        Column("taker_quote", Float(53)),
        Column("flags", SmallInteger, nullable=False, server_default=text("0")),
    ]


sources = Table(
    "sources",
    metadata,
    Column("id", Integer, primary_key=True),
    Column("name", String(100), nullable=False, unique=True),
    Column("clock_ms", BigInteger, comment="newest proven clock of that source"),
    Column("clock_seen_ms", BigInteger, comment="our time when it was proven"),
    Column("settle_ms", BigInteger, comment="learnt: how long after a close its candle is there"),
)

series = Table(
    "series",
    metadata,
    Column("id", Integer, primary_key=True),
    Column("symbol", String(50), nullable=False, comment="BTC/USDT"),
    Column("timeframe", String(3), nullable=False),
    Column("timeframe_ms", BigInteger, nullable=False, comment="for 1M the mean month"),
    Column("anchor_ms", BigInteger, comment="a slot of the grid, where the series has its own (3d)"),
    Column("wanted_start_ms", BigInteger, nullable=False),
    Column("listed_ms", BigInteger),
    Column("listed_evidence", Text),
    Column("closed_until_ms", BigInteger, comment="the first slot not proven closed yet"),
    Column("enabled", Boolean, nullable=False, server_default=true()),
    Column("created_ms", BigInteger, nullable=False),
    Column("reread_ms", BigInteger, comment="when its newest closed candles were last read again"),
    UniqueConstraint("symbol", "timeframe"),
    CheckConstraint("timeframe_ms > 0", name="timeframe_ms"),
)

series_sources = Table(
    "series_sources",
    metadata,
    Column("series_id", ForeignKey("series.id"), primary_key=True),
    Column("source_id", ForeignKey("sources.id"), primary_key=True),
    Column("rank", Integer, nullable=False, comment="0 = preferred"),
    sqlite_with_rowid=False,
)

# No foreign keys here: series and sources are never deleted, and a look-up for each row would slow the hot path;
# DatabaseManager.check() looks for orphans instead.
candles = Table(
    "candles",
    metadata,
    Column("series_id", Integer, primary_key=True, autoincrement=False),
    Column("open_time", BigInteger, primary_key=True, autoincrement=False),
    *_values(),
    Column("source_id", Integer, nullable=False),
    sqlite_with_rowid=False,
)

coverage = Table(
    "coverage",
    metadata,
    Column("series_id", ForeignKey("series.id"), primary_key=True),
    Column("start_ms", BigInteger, primary_key=True, autoincrement=False),
    Column("end_ms", BigInteger, nullable=False),
    Column("state", String(6), nullable=False),
    Column("rows", BigInteger, nullable=False, comment="candles stored inside; fewer than slots where sparse"),
    Column("source_id", ForeignKey("sources.id"), nullable=False),
    Column("route", String(20), nullable=False),
    Column("evidence", Text),
    Column("answers", Integer),
    Column("checked_at", BigInteger),
    Column("recheck_at", BigInteger),
    _span(),
    _one_of("state", (STORED, ABSENT)),
    CheckConstraint("rows >= 0 AND (state = 'stored' OR rows = 0)", name="rows"),
    # No postgresql_where: naming it makes SQLAlchemy import that dialect, 40 ms of every start.
    Index(None, "recheck_at", sqlite_where=text("recheck_at IS NOT NULL")),
    sqlite_with_rowid=False,
)

jobs = Table(
    "jobs",
    metadata,
    Column("id", _Key, primary_key=True),
    Column("series_id", ForeignKey("series.id"), nullable=False),
    Column("kind", String(10), nullable=False),
    Column("start_ms", BigInteger, nullable=False),
    Column("end_ms", BigInteger, nullable=False),
    Column("priority", Integer, nullable=False, comment="smaller = sooner"),
    Column("status", String(10), nullable=False, server_default="queued"),
    Column("attempts", Integer, nullable=False, server_default=text("0")),
    Column("not_before", BigInteger, nullable=False, server_default=text("0")),
    Column("lease_owner", String(200)),
    Column("lease_until", BigInteger),
    Column("last_error", Text),
    Column("created_ms", BigInteger, nullable=False),
    Column("updated_ms", BigInteger, nullable=False),
    _span(),
    _one_of("kind", JOB_KINDS),
    _one_of("status", JOB_STATUSES),
    CheckConstraint("(status = 'leased') = (lease_owner IS NOT NULL AND lease_until IS NOT NULL)", name="lease"),
    Index(None, "status", "priority", "id"),
    Index(None, "series_id", "status"),
    sqlite_autoincrement=True,  # people name jobs by their id: one is never given twice
)

revisions = Table(
    "revisions",
    metadata,
    Column("id", _Key, primary_key=True),
    Column("series_id", ForeignKey("series.id"), nullable=False),
    Column("open_time", BigInteger, nullable=False),
    *_values(),
    Column("source_id", ForeignKey("sources.id"), nullable=False),
    Column("replaced_ms", BigInteger, nullable=False),
    Column("replaced_by", ForeignKey("sources.id"), nullable=False),
    Index(None, "series_id", "open_time"),
)

quarantine = Table(
    "quarantine",
    metadata,
    Column("id", _Key, primary_key=True),
    Column("series_id", ForeignKey("series.id")),
    Column("source_id", ForeignKey("sources.id"), nullable=False),
    Column("route", String(20), nullable=False),
    Column("open_time", BigInteger),
    Column("reason", String(50), nullable=False),
    Column("payload", Text, nullable=False),
    Column("digest", String(64), nullable=False, unique=True),
    Column("received_ms", BigInteger, nullable=False),
    Column("seen", Integer, nullable=False, server_default=text("1")),
    Column("last_seen_ms", BigInteger, nullable=False),
    Column("released_ms", BigInteger),
    sqlite_autoincrement=True,
)

runs = Table(
    "runs",
    metadata,
    Column("id", _Key, primary_key=True),
    Column("kind", String(20), nullable=False),
    Column("started_ms", BigInteger, nullable=False),
    Column("ended_ms", BigInteger),
    Column("host", String(200), nullable=False),
    Column("pid", Integer, nullable=False),
    Column("outcome", String(20)),
    Column("exit_code", Integer),
    Column("summary", Text, comment="JSON"),
    Column("log_id", String(12), comment="what marks its lines in the log"),
)

cache = Table(
    "cache",
    metadata,
    Column("key", String(200), primary_key=True),
    Column("value", Text, nullable=False),
    Column("fetched_ms", BigInteger, nullable=False),
)

locks = Table(
    "locks",
    metadata,
    Column("name", String(100), primary_key=True),
    Column("owner", String(200), nullable=False),
    Column("until_ms", BigInteger, nullable=False),
)

endpoint_state = Table(
    "endpoint_state",
    metadata,
    Column("endpoint", String(300), primary_key=True),
    Column("source", String(100), nullable=False),
    Column("breaker", String(10), nullable=False, server_default="closed"),
    Column("failures", Integer, nullable=False, server_default=text("0")),
    Column("successes", Integer, nullable=False, server_default=text("0")),
    Column("opened_ms", BigInteger),
    Column("probe_owner", String(200)),
    Column("probe_until", BigInteger),
    Column("window_ms", BigInteger, comment="start of the budget window that `used` counts"),
    Column("used", Integer, nullable=False, server_default=text("0")),
    Column("weight_limit", Integer),
    Column("stop_until", BigInteger),
    Column("stop_reason", Text),
    Column("requests", BigInteger, nullable=False, server_default=text("0")),
    Column("errors", BigInteger, nullable=False, server_default=text("0")),
    Column("latency_ms", Float(53), comment="moving average"),
    Column("last_ok_ms", BigInteger),
    Column("last_error", Text),
    Column("last_error_ms", BigInteger),
    Column("window_span_ms", BigInteger, comment="its length; NULL: a minute"),
    _one_of("breaker", BREAKER_STATES),
)

endpoint_hours = Table(
    "endpoint_hours",
    metadata,
    Column("endpoint", String(300), primary_key=True),
    Column("hour_ms", BigInteger, primary_key=True, autoincrement=False),
    Column("requests", Integer, nullable=False),
    Column("errors", Integer, nullable=False),
    Column("latency", Text, nullable=False, comment="JSON: good answers by bucket, see db/health.py"),
    sqlite_with_rowid=False,
)

archive_files = Table(
    "archive_files",
    metadata,
    Column("series_id", ForeignKey("series.id"), primary_key=True),
    Column("name", String(100), primary_key=True),
    Column("source_id", ForeignKey("sources.id"), nullable=False),
    Column("start_ms", BigInteger, nullable=False),
    Column("end_ms", BigInteger, nullable=False),
    Column("state", String(10), nullable=False),
    Column("sha256", String(64)),
    Column("modified_ms", BigInteger),
    Column("bytes", BigInteger),
    Column("rows", BigInteger),
    Column("reason", Text),
    Column("checked_ms", BigInteger, nullable=False),
    _span(),
    _one_of("state", FILE_STATES),
    sqlite_with_rowid=False,
)

audit_log = Table(
    "audit_log",
    metadata,
    Column("id", _Key, primary_key=True),
    Column("at_ms", BigInteger, nullable=False),
    Column("who", String(200), nullable=False, comment="user@host"),
    Column("action", String(50), nullable=False, comment="the command, like `jobs cancel`"),
    Column("detail", Text, nullable=False, comment="JSON: what it was done to"),
    sqlite_autoincrement=True,
)

alerts = Table(
    "alerts",
    metadata,
    Column("key", String(300), primary_key=True, comment="kind and subject"),
    Column("kind", String(50), nullable=False),
    Column("host", String(200), comment="the machine that it is about; NULL: all of them"),
    Column("message", Text, nullable=False),
    Column("urgent", Boolean, nullable=False),
    Column("level", BigInteger, nullable=False, comment="how bad, in the kind's own unit"),
    Column("since_ms", BigInteger, nullable=False, comment="when it was first seen"),
    Column("seen_ms", BigInteger, nullable=False, comment="when it was last seen"),
    Column("gone_ms", BigInteger, comment="since when it is not seen any more"),
    Column("sent_ms", BigInteger, comment="when somebody was last told; NULL: nobody yet"),
    Column("told_level", BigInteger, nullable=False, comment="its level then"),
    Column("times", Integer, nullable=False, comment="how often it began, lately"),
    Column("held", Boolean, nullable=False, comment="quiet hours keep it back"),
)

alert_messages = Table(
    "alert_messages",
    metadata,
    Column("id", _Key, primary_key=True),
    Column("target", String(64), nullable=False, comment="a digest of who is to be told"),
    Column("title", Text, nullable=False),
    Column("body", Text, nullable=False),
    Column("made_ms", BigInteger, nullable=False),
    Column("due_ms", BigInteger, nullable=False, comment="not before; moved ahead by whoever is sending it"),
    Column("tries", Integer, nullable=False),
    sqlite_autoincrement=True,
)

alembic_version = Table(
    "alembic_version",
    MetaData(),  # alembic's own table, made here as alembic makes it, so that a new database needs no alembic
    Column("version_num", String(32), nullable=False),
    PrimaryKeyConstraint("version_num", name="alembic_version_pkc"),
)
