"""The store contract: every database that the program can use passes these tests, by subclassing StoreContract.

A subclass gives the `url` fixture: the URL of an empty database.
"""

from __future__ import annotations

from tests.contract.store_archive_files import ArchiveFileStore
from tests.contract.store_candles import CandleStore
from tests.contract.store_coverage import CoverageStore
from tests.contract.store_health import HealthStore
from tests.contract.store_jobs import JobStore
from tests.contract.store_pruning import PruningStore
from tests.contract.store_state import EndpointStore, QuarantineStore, StateStore, TransactionStore


class StoreContract(
    ArchiveFileStore,
    CandleStore,
    CoverageStore,
    JobStore,
    StateStore,
    EndpointStore,
    HealthStore,
    QuarantineStore,
    PruningStore,
    TransactionStore,
):
    """All parts together."""
