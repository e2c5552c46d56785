"""Small parts of sentences: one thing and many, long lists, and sentences that differ in nothing but the time."""

from __future__ import annotations

import pytest

from fetcher.wording import counted, few, timeless


@pytest.mark.parametrize(
    ("number", "words"), [(0, "0 candles"), (1, "1 candle"), (2, "2 candles"), (1440, "1,440 candles")]
)
def test_one_is_not_many(number: int, words: str) -> None:
    """`1 candles` is no English."""
    assert counted(number, "candle") == words


def test_a_long_list_is_cut() -> None:
    """The others are counted; one that fits stands as it is."""
    assert few(["a", "b"], 2) == "a, b"
    assert few(["a", "b", "c"], 2) == "a, b and 1 more"
    assert few([]) == ""


@pytest.mark.parametrize(
    ("one", "other", "same"),
    [
        ("it rests until 2026-06-01T12:00:00Z: 429", "it rests until 2026-06-01T12:01:07.250Z: 429", True),
        ("it rests until 2026-06-01T12:00Z", "it rests until 2026-06-02T12:01Z", True),
        ("banned until 1780315200000", "banned until 1780315260000", True),
        ("it answered 500", "it answered 503", False),
        ("it rests until 2026-06-01T12:00:00Z: 429", "it rests until 2026-06-01T12:00:00Z: 418", False),
    ],
)
def test_moments_make_no_other_sentence(one: str, other: str, same: bool) -> None:
    """Ours and those that an exchange writes in ms; everything else does."""
    assert (timeless(one) == timeless(other)) is same
