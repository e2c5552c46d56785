"""Both databases here too."""

from tests.integration.conftest import database, databases

__all__ = ["database", "databases"]
