"""Files of exchanges' archives, with their hashes and dates; frozen."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"


def upgrade() -> None:
    op.create_table(
        "archive_files",
        sa.Column("series_id", sa.Integer, nullable=False),
        sa.Column("name", sa.String(100), nullable=False),
        sa.Column("source_id", sa.Integer, nullable=False),
        sa.Column("start_ms", sa.BigInteger, nullable=False),
        sa.Column("end_ms", sa.BigInteger, nullable=False),
        sa.Column("state", sa.String(10), nullable=False),
        sa.Column("sha256", sa.String(64)),
        sa.Column("modified_ms", sa.BigInteger),
        sa.Column("bytes", sa.BigInteger),
        sa.Column("rows", sa.BigInteger),
        sa.Column("reason", sa.Text),
        sa.Column("checked_ms", sa.BigInteger, nullable=False),
        sa.PrimaryKeyConstraint("series_id", "name", name=op.f("pk_archive_files")),
        sa.CheckConstraint("end_ms > start_ms", name=op.f("ck_archive_files_span")),
        sa.CheckConstraint("state IN ('read', 'suspect', 'missing')", name=op.f("ck_archive_files_state")),
        sa.ForeignKeyConstraint(["series_id"], ["series.id"], name=op.f("fk_archive_files_series_id")),
        sa.ForeignKeyConstraint(["source_id"], ["sources.id"], name=op.f("fk_archive_files_source_id")),
        sqlite_with_rowid=False,
    )
