"""The program with a database that may not grow beyond FULL_AFTER_PAGES: where no disk of a few MB can be made."""

from __future__ import annotations

import os
import sys
from typing import TYPE_CHECKING

from sqlalchemy import Engine, event

from fetcher.__main__ import main

if TYPE_CHECKING:
    import sqlite3

PAGES = int(os.environ["FULL_AFTER_PAGES"])


@event.listens_for(Engine, "connect")
def _limit(connection: sqlite3.Connection, _record: object) -> None:
    connection.execute(f"PRAGMA max_page_count = {PAGES}")


if __name__ == "__main__":
    sys.exit(main())
