"""Reading Yahoo's chart: holes, the live row, volume in quote currency, columns that do not fit."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from fetcher.clients.yahoo_chart import parse_chart
from fetcher.errors import BadPayload
from fetcher.model import SECOND, Timeframe
from fetcher.wire import WIRE

if TYPE_CHECKING:
    from pathlib import Path

FIVE = Timeframe("5m")
START = 1_791_158_400  # s
MISSING: Any = object()


def chart(
    times: object, known_until: int | None = None, granularity: str | None = "5m", **columns: object
) -> dict[str, Any]:
    """A chart as Yahoo writes it; every price is 10 and every volume 7 unless told otherwise."""
    count = len(times) if isinstance(times, list) else 0
    quote = {"open": 10.0, "high": 10.0, "low": 10.0, "close": 10.0, "volume": 7}
    result: dict[str, Any] = {
        "meta": {"regularMarketTime": known_until, "dataGranularity": granularity},
        "indicators": {"quote": [{name: [value] * count for name, value in quote.items()} | columns]},
    }
    if times is not MISSING:
        result["timestamp"] = times
    return {"chart": {"result": [result], "error": None}}


def body(sent: object) -> bytes:
    """Compact JSON, as on the wire."""
    return json.dumps(sent, separators=(",", ":")).encode()


def test_volume_is_in_quote_currency() -> None:
    """Times become ms, float32 prices stay as they are, the base volume is unknown."""
    rows = parse_chart(body(chart([START], open=[86434.7109375], volume=[813056])), FIVE).rows
    assert rows.dtype == WIRE
    assert (rows["open_time"][0], rows["open"][0], rows["quote_volume"][0]) == (START * SECOND, 86434.7109375, 813056.0)
    assert all(np.isnan(rows[name][0]) for name in ("volume", "taker_base", "taker_quote"))
    assert (rows["trades"][0], rows["close_time"][0]) == (-1, -1)


def test_null_rows_are_holes() -> None:
    """A row without prices is none; one without a volume only lacks that; one that lacks a price is broken."""
    times = [START, START + 300, START + 600]
    prices: dict[str, Any] = {name: [10.0, None, 10.0] for name in ("open", "high", "low")}
    page = parse_chart(body(chart(times, **prices, close=[10.0, None, None], volume=[None, None, 7])), FIVE)
    assert page.rows["open_time"].tolist() == [START * SECOND]
    assert np.isnan(page.rows["quote_volume"][0])
    assert [row.open_time for row in page.spoiled] == [(START + 600) * SECOND]


def test_what_the_answer_cannot_know_yet_is_left_out() -> None:
    """The last element is stamped with the latest price's time; the candle that holds it is not closed either."""
    times = [START, START + 300, START + 600, START + 620]
    page = parse_chart(body(chart(times, known_until=START + 620)), FIVE)
    assert page.rows["open_time"].tolist() == [START * SECOND, (START + 300) * SECOND]
    assert len(parse_chart(body(chart(times, known_until=START + 900)), FIVE).rows) == 3
    assert len(parse_chart(body(chart(times)), FIVE).rows) == 4


@pytest.mark.parametrize(
    "sent",
    [
        {"chart": {"result": [{"meta": {}, "indicators": {"quote": [{}], "adjclose": [{}]}}], "error": None}},
        chart([]),
        chart(MISSING, granularity="1d"),
        {
            "chart": {
                "result": None,
                "error": {"code": "Bad Request", "description": "Data doesn't exist for startDate = 1"},
            }
        },
    ],
    ids=["no timestamps", "empty lists", "another size", "no such days"],
)
def test_an_empty_span_is_an_empty_page(sent: object) -> None:
    """Yahoo has several ways to say that it has nothing."""
    assert len(parse_chart(body(sent), FIVE)) == 0


@pytest.mark.parametrize(
    "sent",
    [
        chart(MISSING, close=[1.0]),
        chart([START, START + 300], close=[1.0]),
        chart([START], granularity="1h"),
        {"chart": {"result": [], "error": None}},
        {"chart": {"result": None, "error": None}},
        {"chart": {"result": [{"meta": {}, "indicators": {"quote": []}}], "error": None}},
        {"chart": {"result": [{"meta": {}, "indicators": {"quote": {"open": []}}}], "error": None}},
        {"finance": {}},
        [],
        None,
    ],
)
def test_what_does_not_fit_together_is_a_bad_payload(sent: object) -> None:
    """Prices that cannot be dated, or candles of another size, are never guessed at."""
    with pytest.raises(BadPayload, match=r"^yahoo sent"):
        parse_chart(body(sent), FIVE)


def test_an_hour_may_be_called_sixty_minutes() -> None:
    """Yahoo has two names for it."""
    assert len(parse_chart(body(chart([START], granularity="60m")), Timeframe("1h"))) == 1


@pytest.mark.parametrize(
    ("columns", "times", "open_time"),
    [
        ({"open": ["10"]}, [START], START * SECOND),
        ({"high": [True]}, [START], START * SECOND),
        ({"volume": ["7"]}, [START], START * SECOND),
        ({"low": [10**400]}, [START], START * SECOND),
        ({}, ["soon"], None),
        ({}, [1.5], None),
        ({}, [10**30], None),
    ],
)
def test_a_bad_cell_spoils_its_row_alone(
    columns: dict[str, list[object]], times: list[object], open_time: int | None
) -> None:
    """It is kept as it came; its neighbour is read."""
    whole: dict[str, Any] = {name: [*cells, 10.0] for name, cells in columns.items()}
    page = parse_chart(body(chart([*times, START + 300], **whole)), FIVE)
    assert page.rows["open_time"].tolist() == [(START + 300) * SECOND]
    assert [(row.open_time, row.reason) for row in page.spoiled] == [(open_time, "malformed")]


@pytest.mark.parametrize("name", ["v8_finance_chart_BTC_USD-01", "v8_finance_chart_BTC_USD-02"])
def test_the_recorded_days_are_read(shared_data: Path, name: str) -> None:
    """Three days from 2020-01-01 on, the third of which is Yahoo's inclusive end."""
    recorded = json.loads((shared_data / "responses" / "yahoo" / f"{name}.json").read_text())
    page = parse_chart(body(recorded["body"]), Timeframe("1d"))
    assert page.rows["open_time"].tolist() == [1_577_836_800_000, 1_577_923_200_000, 1_578_009_600_000]
    assert page.rows["close"].tolist() == [7200.17431640625, 6985.47021484375, 7344.88427734375]
    assert page.rows["quote_volume"].tolist() == [18565664997.0, 20802083465.0, 28111481032.0]


def test_the_same_days_as_another_library_recorded_them_are_read(shared_data: Path) -> None:
    """The record with its request around it."""
    path = shared_data / "responses" / "yahoo" / "chart-BTC-USD-2020-01-01-to-2020-01-03.json"
    sent = json.loads(path.read_text())["response"]["bodyJson"]
    assert len(parse_chart(body(sent), Timeframe("1d"))) == 3


@pytest.mark.parametrize("name", ["quotes-length", "weird-quote"])
def test_recorded_prices_without_timestamps_are_refused(shared_data: Path, name: str) -> None:
    """Nobody can say when they were."""
    path = shared_data / "responses" / "yahoo" / f"chart-notimestamp-{name}.fake.json"
    with pytest.raises(BadPayload, match="sent 0 timestamps for columns of 1, 1, 1, 1, 1 cells"):
        parse_chart(body(json.loads(path.read_text())["response"]["bodyJson"]), Timeframe("1d"))
