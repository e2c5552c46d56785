"""Rows in the database: schema, statements and migrations; knows nothing of exchanges and imports nothing of ours."""
