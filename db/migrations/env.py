"""What alembic runs: every revision in the transaction that the caller opened, the views made anew around them."""

from alembic import context

from db.schema import metadata
from db.views import create_views, drop_views

connection = context.config.attributes["connection"]
context.configure(connection=connection, target_metadata=metadata, transactional_ddl=True, render_as_batch=True)
drop_views(connection)  # SQLite refuses to rebuild a table that a view reads
with context.begin_transaction():
    context.run_migrations()
create_views(connection)
