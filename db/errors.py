"""The database package's own errors; the application maps them to its own."""


class DatabaseProblem(Exception):
    """The database cannot be used as it is; the message says what happened and what to do."""
