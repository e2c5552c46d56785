"""The first schema; frozen: later changes are revisions of their own."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0001"
down_revision = None  # there is no way down either: an upgrade leaves a backup of the file beside it

_KEY = sa.BigInteger().with_variant(sa.Integer, "sqlite")


def _values() -> list[sa.Column[float] | sa.Column[int]]:
    return [
        sa.Column("open", sa.Float(53), nullable=False),
        sa.Column("high", sa.Float(53), nullable=False),
        sa.Column("low", sa.Float(53), nullable=False),
        sa.Column("close", sa.Float(53), nullable=False),
        sa.Column("volume", sa.Float(53)),
        sa.Column("quote_volume", sa.Float(53)),
        sa.Column("trades", sa.BigInteger),
        sa.Column("taker_base", sa.Float(53)),
        sa.Column("taker_quote", sa.Float(53)),
        sa.Column("flags", sa.SmallInteger, nullable=False, server_default=sa.text("0")),
    ]


def _reference(table: str, column: str, to: str) -> sa.ForeignKeyConstraint:
    return sa.ForeignKeyConstraint([column], [f"{to}.id"], name=op.f(f"fk_{table}_{column}"))


def upgrade() -> None:
    _markets()
    _candles()
    _work()
    _refused()
    _state()


def _markets() -> None:
    op.create_table(
        "sources",
        sa.Column("id", sa.Integer, nullable=False),
        sa.Column("name", sa.String(100), nullable=False),
        sa.Column("clock_ms", sa.BigInteger, comment="newest proven clock of that source"),
        sa.Column("clock_seen_ms", sa.BigInteger, comment="our time when it was proven"),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_sources")),
        sa.UniqueConstraint("name", name=op.f("uq_sources_name")),
    )
    op.create_table(
        "series",
        sa.Column("id", sa.Integer, nullable=False),
        sa.Column("symbol", sa.String(50), nullable=False, comment="BTC/USDT"),
        sa.Column("timeframe", sa.String(3), nullable=False),
        sa.Column("timeframe_ms", sa.BigInteger, nullable=False, comment="for 1M the mean month"),
        sa.Column("anchor_ms", sa.BigInteger, comment="a slot of the grid, where the series has its own (3d)"),
        sa.Column("wanted_start_ms", sa.BigInteger, nullable=False),
        sa.Column("listed_ms", sa.BigInteger),
        sa.Column("listed_evidence", sa.Text),
        sa.Column("closed_until_ms", sa.BigInteger, comment="the first slot not proven closed yet"),
        sa.Column("enabled", sa.Boolean, nullable=False, server_default=sa.true()),
        sa.Column("created_ms", sa.BigInteger, nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_series")),
        sa.UniqueConstraint("symbol", "timeframe", name=op.f("uq_series_symbol_timeframe")),
        sa.CheckConstraint("timeframe_ms > 0", name=op.f("ck_series_timeframe_ms")),
    )
    op.create_table(
        "series_sources",
        sa.Column("series_id", sa.Integer, nullable=False),
        sa.Column("source_id", sa.Integer, nullable=False),
        sa.Column("rank", sa.Integer, nullable=False, comment="0 = preferred"),
        sa.PrimaryKeyConstraint("series_id", "source_id", name=op.f("pk_series_sources")),
        _reference("series_sources", "series_id", "series"),
        _reference("series_sources", "source_id", "sources"),
        sqlite_with_rowid=False,
    )


def _candles() -> None:
    op.create_table(
        "candles",
        sa.Column("series_id", sa.Integer, nullable=False, autoincrement=False),
        sa.Column("open_time", sa.BigInteger, nullable=False, autoincrement=False),
        *_values(),
        sa.Column("source_id", sa.Integer, nullable=False),
        sa.PrimaryKeyConstraint("series_id", "open_time", name=op.f("pk_candles")),
        sqlite_with_rowid=False,
    )
    op.create_table(
        "coverage",
        sa.Column("series_id", sa.Integer, nullable=False),
        sa.Column("start_ms", sa.BigInteger, nullable=False, autoincrement=False),
        sa.Column("end_ms", sa.BigInteger, nullable=False),
        sa.Column("state", sa.String(6), nullable=False),
        sa.Column(
            "rows", sa.BigInteger, nullable=False, comment="candles stored inside; fewer than slots where sparse"
        ),
        sa.Column("source_id", sa.Integer, nullable=False),
        sa.Column("route", sa.String(20), nullable=False),
        sa.Column("evidence", sa.Text),
        sa.Column("answers", sa.Integer),
        sa.Column("checked_at", sa.BigInteger),
        sa.Column("recheck_at", sa.BigInteger),
        sa.PrimaryKeyConstraint("series_id", "start_ms", name=op.f("pk_coverage")),
        sa.CheckConstraint("end_ms > start_ms", name=op.f("ck_coverage_span")),
        sa.CheckConstraint("state IN ('stored', 'absent')", name=op.f("ck_coverage_state")),
        sa.CheckConstraint("rows >= 0 AND (state = 'stored' OR rows = 0)", name=op.f("ck_coverage_rows")),
        _reference("coverage", "series_id", "series"),
        _reference("coverage", "source_id", "sources"),
        sqlite_with_rowid=False,
    )
    op.create_index(
        "ix_coverage_recheck_at",
        "coverage",
        ["recheck_at"],
        sqlite_where=sa.text("recheck_at IS NOT NULL"),
    )


def _work() -> None:
    op.create_table(
        "jobs",
        sa.Column("id", _KEY, nullable=False),
        sa.Column("series_id", sa.Integer, nullable=False),
        sa.Column("kind", sa.String(10), nullable=False),
        sa.Column("start_ms", sa.BigInteger, nullable=False),
        sa.Column("end_ms", sa.BigInteger, nullable=False),
        sa.Column("priority", sa.Integer, nullable=False, comment="smaller = sooner"),
        sa.Column("status", sa.String(10), nullable=False, server_default="queued"),
        sa.Column("attempts", sa.Integer, nullable=False, server_default=sa.text("0")),
        sa.Column("not_before", sa.BigInteger, nullable=False, server_default=sa.text("0")),
        sa.Column("lease_owner", sa.String(200)),
        sa.Column("lease_until", sa.BigInteger),
        sa.Column("last_error", sa.Text),
        sa.Column("created_ms", sa.BigInteger, nullable=False),
        sa.Column("updated_ms", sa.BigInteger, nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_jobs")),
        sa.CheckConstraint("end_ms > start_ms", name=op.f("ck_jobs_span")),
        sa.CheckConstraint("kind IN ('tail', 'gap', 'backfill', 'heal', 'recheck')", name=op.f("ck_jobs_kind")),
        sa.CheckConstraint("status IN ('queued', 'leased', 'done', 'failed')", name=op.f("ck_jobs_status")),
        sa.CheckConstraint(
            "(status = 'leased') = (lease_owner IS NOT NULL AND lease_until IS NOT NULL)", name=op.f("ck_jobs_lease")
        ),
        _reference("jobs", "series_id", "series"),
        sqlite_autoincrement=True,
    )
    op.create_index(op.f("ix_jobs_status_priority_id"), "jobs", ["status", "priority", "id"])
    op.create_index(op.f("ix_jobs_series_id_status"), "jobs", ["series_id", "status"])
    op.create_table(
        "revisions",
        sa.Column("id", _KEY, nullable=False),
        sa.Column("series_id", sa.Integer, nullable=False),
        sa.Column("open_time", sa.BigInteger, nullable=False),
        *_values(),
        sa.Column("source_id", sa.Integer, nullable=False),
        sa.Column("replaced_ms", sa.BigInteger, nullable=False),
        sa.Column("replaced_by", sa.Integer, nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_revisions")),
        _reference("revisions", "series_id", "series"),
        _reference("revisions", "source_id", "sources"),
        _reference("revisions", "replaced_by", "sources"),
    )
    op.create_index(op.f("ix_revisions_series_id_open_time"), "revisions", ["series_id", "open_time"])


def _refused() -> None:
    op.create_table(
        "quarantine",
        sa.Column("id", _KEY, nullable=False),
        sa.Column("series_id", sa.Integer),
        sa.Column("source_id", sa.Integer, nullable=False),
        sa.Column("route", sa.String(20), nullable=False),
        sa.Column("open_time", sa.BigInteger),
        sa.Column("reason", sa.String(50), nullable=False),
        sa.Column("payload", sa.Text, nullable=False),
        sa.Column("digest", sa.String(64), nullable=False),
        sa.Column("received_ms", sa.BigInteger, nullable=False),
        sa.Column("seen", sa.Integer, nullable=False, server_default=sa.text("1")),
        sa.Column("last_seen_ms", sa.BigInteger, nullable=False),
        sa.Column("released_ms", sa.BigInteger),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_quarantine")),
        _reference("quarantine", "series_id", "series"),
        _reference("quarantine", "source_id", "sources"),
        sa.UniqueConstraint("digest", name=op.f("uq_quarantine_digest")),
        sqlite_autoincrement=True,
    )


def _state() -> None:
    op.create_table(
        "runs",
        sa.Column("id", _KEY, nullable=False),
        sa.Column("kind", sa.String(20), nullable=False),
        sa.Column("started_ms", sa.BigInteger, nullable=False),
        sa.Column("ended_ms", sa.BigInteger),
        sa.Column("host", sa.String(200), nullable=False),
        sa.Column("pid", sa.Integer, nullable=False),
        sa.Column("outcome", sa.String(20)),
        sa.Column("exit_code", sa.Integer),
        sa.Column("summary", sa.Text, comment="JSON"),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_runs")),
    )
    op.create_table(
        "cache",
        sa.Column("key", sa.String(200), nullable=False),
        sa.Column("value", sa.Text, nullable=False),
        sa.Column("fetched_ms", sa.BigInteger, nullable=False),
        sa.PrimaryKeyConstraint("key", name=op.f("pk_cache")),
    )
    op.create_table(
        "locks",
        sa.Column("name", sa.String(100), nullable=False),
        sa.Column("owner", sa.String(200), nullable=False),
        sa.Column("until_ms", sa.BigInteger, nullable=False),
        sa.PrimaryKeyConstraint("name", name=op.f("pk_locks")),
    )
    op.create_table(
        "endpoint_state",
        sa.Column("endpoint", sa.String(300), nullable=False),
        sa.Column("source", sa.String(100), nullable=False),
        sa.Column("breaker", sa.String(10), nullable=False, server_default="closed"),
        sa.Column("failures", sa.Integer, nullable=False, server_default=sa.text("0")),
        sa.Column("successes", sa.Integer, nullable=False, server_default=sa.text("0")),
        sa.Column("opened_ms", sa.BigInteger),
        sa.Column("probe_owner", sa.String(200)),
        sa.Column("probe_until", sa.BigInteger),
        sa.Column("window_ms", sa.BigInteger, comment="start of the budget window that `used` counts"),
        sa.Column("used", sa.Integer, nullable=False, server_default=sa.text("0")),
        sa.Column("weight_limit", sa.Integer),
        sa.Column("stop_until", sa.BigInteger),
        sa.Column("stop_reason", sa.Text),
        sa.Column("requests", sa.BigInteger, nullable=False, server_default=sa.text("0")),
        sa.Column("errors", sa.BigInteger, nullable=False, server_default=sa.text("0")),
        sa.Column("latency_ms", sa.Float(53), comment="moving average"),
        sa.Column("last_ok_ms", sa.BigInteger),
        sa.Column("last_error", sa.Text),
        sa.Column("last_error_ms", sa.BigInteger),
        sa.PrimaryKeyConstraint("endpoint", name=op.f("pk_endpoint_state")),
        sa.CheckConstraint("breaker IN ('closed', 'open', 'half-open')", name=op.f("ck_endpoint_state_breaker")),
    )
