"""A configuration that changes: when its file counts as changed, and what is said of the difference."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from fetcher.config import Config
from fetcher.reloading import CALM_SECONDS, WatchedFile, changes
from tests.unit.test_clock import HandClock

if TYPE_CHECKING:
    from pathlib import Path

MARKET = {"symbols": ["BTC/USDT"], "timeframes": ["1m"], "start": "2024-01-01", "sources": ["binance"]}


def config(**changed: Any) -> Config:
    """A small configuration with some of it changed."""
    return Config.model_validate({"sources": {"binance": {"client": "binance"}}, "markets": [MARKET]} | changed)


@pytest.mark.parametrize("how", ["written", "gone", "replaced"])
def test_a_file_has_changed_once_it_is_calm(tmp_path: Path, how: str) -> None:
    """Not while somebody may still be writing it, and not again once it was taken."""
    path, clock = tmp_path / "config.yaml", HandClock()
    path.write_text("one")
    watched = WatchedFile(path, clock)
    clock.seconds += 60
    assert not watched.has_changed()
    match how:
        case "written":
            path.write_text("another")
        case "gone":
            path.unlink()
        case _:
            (tmp_path / "new").write_text("two")
            (tmp_path / "new").rename(path)
    assert not watched.has_changed()
    clock.seconds += CALM_SECONDS
    assert watched.has_changed()
    watched.take()
    assert not watched.has_changed()


def test_one_that_is_still_being_written_is_left_alone(tmp_path: Path) -> None:
    """Each change makes the calm begin anew; one taken back is none."""
    path, clock = tmp_path / "config.yaml", HandClock()
    watched = WatchedFile(path, clock)
    for text in ("m", "markets", "markets: []"):
        path.write_text(text)
        assert not watched.has_changed()
        clock.seconds += CALM_SECONDS / 2
    path.unlink()
    assert not watched.has_changed()
    clock.seconds += CALM_SECONDS
    assert not watched.has_changed()


@pytest.mark.parametrize(
    ("changed", "told"),
    [
        ({}, []),
        ({"database_url": "postgresql://me:hush@db/market"}, ["database_url is postgresql://me:***@db/market"]),
        ({"markets": [MARKET | {"timeframes": ["1h"]}]}, ["series added: BTC/USDT 1h", "series removed: BTC/USDT 1m"]),
        ({"markets": [MARKET | {"start": "2025-01-01"}]}, ["series changed: BTC/USDT 1m"]),
        ({"sources": {"binance": {"client": "binance", "timeout": "5s"}}}, ["source changed: binance"]),
        ({"run": {"workers": 2}, "daemon": {"jitter": 0}}, ["run changed", "daemon changed"]),
    ],
)
def test_what_changed_is_told(changed: dict[str, Any], told: list[str]) -> None:
    """In words, without secrets."""
    assert changes(config(), config(**changed)) == told
