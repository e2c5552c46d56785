"""How a run ended: outcomes only worsen, and one table turns them into exit codes."""

from __future__ import annotations

from enum import IntEnum


class Outcome(IntEnum):
    """What a run, or one series of it, came to."""

    OK = 0
    PARTIAL = 1
    FAILED = 2

    def worsened(self, other: Outcome) -> Outcome:
        """The worse of the two."""
        return max(self, other)


EXIT_OK, EXIT_INCOMPLETE, EXIT_BAD_INPUT, EXIT_LOCKED = 0, 1, 2, 75
EXIT_CODES = {Outcome.OK: EXIT_OK, Outcome.PARTIAL: EXIT_INCOMPLETE, Outcome.FAILED: EXIT_INCOMPLETE}
