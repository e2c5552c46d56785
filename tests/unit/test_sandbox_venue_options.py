"""What each venue of the sandbox can be told, at the start and at run time: read into values, or refused."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest

from fetcher.clock import parse_utc
from fetcher.errors import ConfigError
from fetcher.model import DAY, Window
from fetcher.sandbox import options as read
from fetcher.sandbox.options import SandboxOptions, VenueOptions
from fetcher.sandbox.state import Sandbox

if TYPE_CHECKING:
    from fetcher.sandbox.answer import Answer

CLOCK = "2026-04-30T04:07:30Z"
NOW = parse_utc(CLOCK)
OKX = "/okx/api/v5/market/candles"


def body(answer: Answer) -> Any:
    """What the answer says."""
    return json.loads(answer.body)


def test_what_venues_are_told_is_read_or_refused() -> None:
    """`okx:reset=0.05` beside `reset=0.03`; `*` is everyone; a fault's own colon confuses nothing."""
    own, others = read.split_faults(["reset=0.03", "okx:status:500=0.05", "*:html=0.01"])
    assert own == ["reset=0.03", "html=0.01"]
    told = read.read_venues(others, ["okx=always"], ["kraken=2026-04-01/2026-04-02"], ["okx=40/2s"], ["yahoo=-250ms"])
    assert told["okx"].faults == {"status:500": 0.05, "html": 0.01}
    assert told["kraken"].faults == {"html": 0.01}
    assert told["okx"].down[0].start == 0
    assert str(told["okx"].limit) == "40/2s"
    assert told["yahoo"].ahead_ms == -250
    assert told["kraken"].outages == (Window(parse_utc("2026-04-01"), parse_utc("2026-04-02")),)


@pytest.mark.parametrize(
    ("down", "outages", "limits", "says"),
    [
        (["nasdaq=always"], [], [], "nasdaq=always"),
        (["okx"], [], [], "names no venue"),
        (["okx=soon"], [], [], "soon"),
        ([], ["binance=2026-04-01/2026-04-02"], [], "--outage"),
        ([], [], ["binance=1/1s"], "--weight-limit"),
        ([], [], ["okx=many"], "many"),
        ([], [], ["okx=5/7s"], "5/7s"),
    ],
)
def test_badly_written_venue_options_are_quoted_back(
    down: list[str], outages: list[str], limits: list[str], says: str
) -> None:
    """One sentence each."""
    with pytest.raises(ConfigError, match=says):
        read.read_venues({}, down, outages, limits, [])


def test_an_outage_of_one_venue_is_no_other_venues() -> None:
    """Binance's neither."""
    halt = Window(parse_utc("2026-04-29T12:00"), parse_utc("2026-04-29T14:00"))
    sandbox = Sandbox(SandboxOptions(clock=CLOCK, venues={"okx": VenueOptions(outages=(halt,))}))
    query = {"instId": "BTC-USDT", "bar": "1H", "before": str(NOW - DAY)}
    assert body(sandbox.answer(OKX, query, "", {})).keys() == {"code", "msg", "data"}
    assert [entry["rows"] for entry in sandbox.log()] == [22]
    klines = {"symbol": "BTCUSDT", "interval": "1h", "startTime": str(NOW - DAY)}
    sandbox.answer("/api/v3/klines", klines, "", {})
    assert sandbox.log()[-1]["rows"] == 24
    sandbox.configure({"venues": {"okx": {"outages": []}}})
    sandbox.answer(OKX, query, "", {})
    assert sandbox.log()[-1]["rows"] == 24


def test_a_venues_settings_go_back_as_they_came_and_bad_ones_are_named() -> None:
    """For every venue, Binance among them."""
    sandbox = Sandbox(SandboxOptions(clock=CLOCK))
    sandbox.configure(
        {"venues": {"okx": {"faults": {"reset": 0.5}, "down": ["2026-01-01/2026-01-02"], "limit": "5/1s"}}}
    )
    told = sandbox.config()
    assert told["venues"]["okx"]["limit"] == "5/1s"  # type: ignore[index]  # JSON
    sandbox.configure({"venues": told["venues"]})
    assert sandbox.config()["venues"] == told["venues"]
    for wrong, says in (
        ({"nasdaq": {}}, "no venue 'nasdaq'"),
        ({"okx": {"speed": 1}}, "no setting 'speed'"),
        ({"okx": {"limit": 7}}, "limit"),
        ({"binance": {"limit": "7/1s"}}, "no setting 'limit'"),
    ):
        with pytest.raises(ConfigError, match=says):
            sandbox.configure({"venues": wrong})
    with pytest.raises(ConfigError, match="no venue 'nasdaq'"):
        sandbox.script("reset", venue="nasdaq")
