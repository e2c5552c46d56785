"""For years without anybody looking: who changed what by hand, alerts, settle times, re-read candles, runs; frozen."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0004"
down_revision = "0003"

_KEY = sa.BigInteger().with_variant(sa.Integer, "sqlite")


def upgrade() -> None:
    # Rebuilt, so that columns stand where the metadata has them: SQLite adds them behind the constraints.
    on_sqlite = op.get_bind().dialect.name == "sqlite"
    with op.batch_alter_table("sources", recreate="always" if on_sqlite else "never") as table:
        table.add_column(
            sa.Column("settle_ms", sa.BigInteger, comment="learnt: how long after a close its candle is there")
        )
    with op.batch_alter_table("series", recreate="always" if on_sqlite else "never") as table:
        table.add_column(
            sa.Column("reread_ms", sa.BigInteger, comment="when its newest closed candles were last read again")
        )
    with op.batch_alter_table("runs", recreate="always" if on_sqlite else "never") as table:
        table.add_column(sa.Column("log_id", sa.String(12), comment="what marks its lines in the log"))
    op.create_table(
        "audit_log",
        sa.Column("id", _KEY, nullable=False),
        sa.Column("at_ms", sa.BigInteger, nullable=False),
        sa.Column("who", sa.String(200), nullable=False, comment="user@host"),
        sa.Column("action", sa.String(50), nullable=False, comment="the command, like `jobs cancel`"),
        sa.Column("detail", sa.Text, nullable=False, comment="JSON: what it was done to"),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_audit_log")),
        sqlite_autoincrement=True,
    )
    op.create_table(
        "alerts",
        sa.Column("key", sa.String(300), nullable=False, comment="kind and subject"),
        sa.Column("kind", sa.String(50), nullable=False),
        sa.Column("host", sa.String(200), comment="the machine that it is about; NULL: all of them"),
        sa.Column("message", sa.Text, nullable=False),
        sa.Column("urgent", sa.Boolean, nullable=False),
        sa.Column("level", sa.BigInteger, nullable=False, comment="how bad, in the kind's own unit"),
        sa.Column("since_ms", sa.BigInteger, nullable=False, comment="when it was first seen"),
        sa.Column("seen_ms", sa.BigInteger, nullable=False, comment="when it was last seen"),
        sa.Column("gone_ms", sa.BigInteger, comment="since when it is not seen any more"),
        sa.Column("sent_ms", sa.BigInteger, comment="when somebody was last told; NULL: nobody yet"),
        sa.Column("told_level", sa.BigInteger, nullable=False, comment="its level then"),
        sa.Column("times", sa.Integer, nullable=False, comment="how often it began, lately"),
        sa.Column("held", sa.Boolean, nullable=False, comment="quiet hours keep it back"),
        sa.PrimaryKeyConstraint("key", name=op.f("pk_alerts")),
    )
    op.create_table(
        "alert_messages",
        sa.Column("id", _KEY, nullable=False),
        sa.Column("target", sa.String(64), nullable=False, comment="a digest of who is to be told"),
        sa.Column("title", sa.Text, nullable=False),
        sa.Column("body", sa.Text, nullable=False),
        sa.Column("made_ms", sa.BigInteger, nullable=False),
        sa.Column("due_ms", sa.BigInteger, nullable=False, comment="not before; moved ahead by whoever is sending it"),
        sa.Column("tries", sa.Integer, nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_alert_messages")),
        sqlite_autoincrement=True,
    )
