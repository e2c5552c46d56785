"""PostgreSQL keeps the store contract."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.contract.store_contract import StoreContract

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.postgresql import Server


class TestPostgreSQLStore(StoreContract):
    """A database of its own on a throw-away server."""

    @pytest.fixture
    def url(self, postgresql: Server) -> Iterator[str]:
        """A copy of a database that the program has made."""
        name = postgresql.prepared()
        yield postgresql.url(name)
        postgresql.drop(name)
