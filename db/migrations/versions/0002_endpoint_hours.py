"""How each endpoint did, hour by hour, and how long the budget window of `endpoint_state` lasts; frozen."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"


def upgrade() -> None:
    op.create_table(
        "endpoint_hours",
        sa.Column("endpoint", sa.String(300), nullable=False),
        sa.Column("hour_ms", sa.BigInteger, nullable=False, autoincrement=False),
        sa.Column("requests", sa.Integer, nullable=False),
        sa.Column("errors", sa.Integer, nullable=False),
        sa.Column("latency", sa.Text, nullable=False, comment="JSON: good answers by bucket, see db/health.py"),
        sa.PrimaryKeyConstraint("endpoint", "hour_ms", name=op.f("pk_endpoint_hours")),
        sqlite_with_rowid=False,
    )
    # Rebuilt, so that the column stands where the metadata has it: SQLite adds columns behind the constraints.
    on_sqlite = op.get_bind().dialect.name == "sqlite"
    with op.batch_alter_table("endpoint_state", recreate="always" if on_sqlite else "never") as table:
        table.add_column(sa.Column("window_span_ms", sa.BigInteger, comment="its length; NULL: a minute"))
