"""Candles as JSON text: exact, plain decimals, in the exchange's shape."""

from __future__ import annotations

import json

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fetcher.sandbox import render
from fetcher.sandbox.market import AMOUNTS, PRICES, TRUTH, UNIT, no_rows

TIMES = st.integers(10**12, 2 * 10**12)


@given(
    rows=st.lists(
        st.tuples(
            TIMES, st.integers(0, 9 * 10**18), st.integers(0, 10**15), st.integers(0, UNIT - 1), st.integers(0, 10**9)
        ),
        min_size=1,
        max_size=20,
    )
)
def test_numbers_are_written_exactly(rows: list[tuple[int, int, int, int, int]]) -> None:
    """Every integer comes back digit for digit, whatever stands beside it on the page."""
    truth = np.zeros(len(rows), dtype=TRUTH)
    for n, (slot, price, whole, part, trades) in enumerate(rows):
        truth[n]["slot"], truth[n]["end"], truth[n]["trades"] = slot, slot + 59_999, trades
        for name in PRICES:
            truth[n][name] = price
        for name in AMOUNTS:
            truth[name]["whole"][n], truth[name]["part"][n] = whole, part
    for (slot, price, whole, part, trades), row in zip(rows, json.loads(render.klines(truth)), strict=True):
        money, amount = f"{price // UNIT}.{price % UNIT:08d}", f"{whole}.{part:08d}"
        assert row == [slot, *[money] * 4, amount, slot + 59_999, amount, trades, amount, amount, "0"]


def test_no_rows_are_an_empty_list() -> None:
    """Two characters, as on the wire."""
    assert render.klines(no_rows()) == b"[]"


@pytest.mark.parametrize(("micros", "times"), [(False, b"[[1000000000000,"), (True, b"[[1000000000000000,")])
def test_times_come_in_ms_or_us(micros: bool, times: bytes) -> None:
    """A close time in us ends in 999999, one us before the next open."""
    truth = np.zeros(1, dtype=TRUTH)
    truth["slot"], truth["end"] = 10**12, 10**12 + 59_999
    page = render.klines(truth, micros=micros)
    assert page.startswith(times)
    assert (b",1000000059999999," in page) == micros
