"""freqtrade itself, from the package index and in an environment of its own, reads what `export` writes."""

from __future__ import annotations

import json
import subprocess
import sys
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from fetcher.sandbox.control import spawn_sandbox
from tests.databases import SQLITE, chosen
from tests.integration.commands import NOW, CommandLine
from tests.integration.world import market

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

OUTAGE = "2026-05-30T02:00/2026-05-30T04:30"
COLUMNS = ("open", "high", "low", "close", "volume")
_LOADER = """
import json, sys
from pathlib import Path
from freqtrade.data.history import load_pair_history

folder, form, *series = sys.argv[1:]
found = {}
for name in series:
    pair, timeframe, fill = name.split()
    frame = load_pair_history(
        pair=pair, timeframe=timeframe, datadir=Path(folder), data_format=form, fill_up_missing=fill == "filled"
    )
    columns = {each: [value.hex() for value in frame[each].tolist()] for each in frame.columns if each != "date"}
    found[name] = columns | {"times": frame["date"].dt.as_unit("ms").astype("int64").tolist()}
print(json.dumps(found))
"""


@pytest.fixture(scope="module")
def freqtrade(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The Python of an environment that holds freqtrade: its newest version, with whatever pandas that wants."""
    folder = tmp_path_factory.mktemp("freqtrade")
    subprocess.run([sys.executable, "-m", "venv", str(folder)], check=True)
    python = folder / "bin/python"
    subprocess.run([str(python), "-m", "pip", "install", "-q", "freqtrade"], check=True, timeout=1200)
    return python


@pytest.fixture(scope="module")
def line(tmp_path_factory: pytest.TempPathFactory) -> Iterator[CommandLine]:
    """A folder where runs have fetched three months, with an outage at their end."""
    with spawn_sandbox("--clock", NOW, "--outage", OUTAGE) as sandbox, chosen(SQLITE):
        made = CommandLine(sandbox, tmp_path_factory.mktemp("export"))
        made.configure(market("BTC/USDT", "1h 1d 1M", "2026-03-01"), market("ETH/USDT", "1m", "2026-05-29"))
        first = made.command("-q")
        assert first.code == 0, first
        yield made


def loaded(python: Path, *words: str) -> dict[str, dict[str, Any]]:
    """What freqtrade's loader makes of files."""
    child = subprocess.run([str(python), "-c", _LOADER, *words], check=True, capture_output=True, text=True)
    found: dict[str, dict[str, Any]] = json.loads(child.stdout.splitlines()[-1])
    return found


@pytest.mark.timeout(1800)
@pytest.mark.parametrize("form", ["feather", "parquet"])
def test_its_loader_finds_the_same_candles(freqtrade: Path, line: CommandLine, form: str) -> None:
    """By its own names in its own folder, each candle bit for bit; where the outage was, it fills by itself."""
    folder = "user_data/data/binance"
    said = line.command("export", "--out", folder, "--format", form, "--layout", "freqtrade")
    assert said.code == 0, said
    stored = ["BTC/USDT 1h as-is", "BTC/USDT 1d as-is", "BTC/USDT 1M as-is", "ETH/USDT 1m as-is"]
    found = loaded(freqtrade, str(line.folder / folder), form, *stored, "ETH/USDT 1m filled")
    for name in stored:
        rows, columns = line.rows(*name.split()[:2]), found[name]
        assert columns.pop("times") == rows["open_time"].tolist()
        assert tuple(columns) == COLUMNS
        for column, values in columns.items():
            assert np.array([float.fromhex(each) for each in values]).tobytes() == rows[column].tobytes(), name
    assert len(found["ETH/USDT 1m filled"]["times"]) == 3 * 1440
