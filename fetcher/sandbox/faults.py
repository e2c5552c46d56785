"""Everything that goes wrong between an exchange and its client, by name: each fault makes a good answer a bad one.

A fault that finds nothing to spoil (no rows, another kind of body) returns the very answer it was given.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, TypeAlias

from msgspec import Struct
from msgspec.structs import replace

from fetcher.sandbox.answer import HTML, JSON, Answer
from fetcher.sandbox.layout import BINANCE_ROWS
from fetcher.sandbox.refusals import complain

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from random import Random

    from fetcher.sandbox.answer import Complaint
    from fetcher.sandbox.layout import Layout, Row

_GATEWAY = (
    "<html>\r\n<head><title>{0}</title></head>\r\n<body>\r\n<center><h1>{0}</h1></center>\r\n</body>\r\n</html>\r\n"
)


class Severity(Struct, frozen=True):
    """How bad: seconds of `hang` and `latency`, Retry-After seconds of an injected 429 or 418 (0: without the header).

    Most vendors send none with theirs.
    """

    hang_seconds: float = 30.0
    latency_seconds: float = 0.5
    retry_after: int = 1


class Scene(Struct, frozen=True):
    """What a fault may use: seeded randomness, its severity, the exchange's clock (ms UTC), format and refusals."""

    rng: Random
    severity: Severity
    now_ms: int
    layout: Layout = BINANCE_ROWS
    complain: Complaint = complain


Fault: TypeAlias = "Callable[[Answer, Scene], Answer]"


def _said(status: int) -> Fault:
    """The exchange's own words for a failure."""

    def fault(answer: Answer, scene: Scene) -> Answer:
        told = scene.complain(status, 0, scene.now_ms)
        return replace(answer, status=status, body=told.body, content_type=told.content_type, rows=None)

    return fault


def _gateway(status: int, title: str) -> Fault:
    page = _GATEWAY.format(f"{status} {title}").encode()
    return lambda _answer, _scene: Answer(status, page, content_type=HTML)  # a proxy's: no weight headers


def _refused(status: int) -> Fault:
    def fault(answer: Answer, scene: Scene) -> Answer:
        seconds = scene.severity.retry_after
        told = scene.complain(status, seconds, scene.now_ms)
        rest = {"Retry-After": str(seconds)} if seconds else {}
        return replace(told, headers={**answer.headers, **told.headers, **rest})

    return fault


def _cut_json(answer: Answer, _scene: Scene) -> Answer:
    return replace(answer, body=answer.body[: max(1, len(answer.body) // 2)], rows=None)


def _delayed(answer: Answer, seconds: float) -> Answer:
    return replace(answer, delay=answer.delay + seconds)


def _on_rows(spoil: Callable[[list[Row], Answer, Scene], list[Row]]) -> Fault:
    """A fault of a page of candles: works on the decoded rows and leaves every other answer alone."""

    def fault(answer: Answer, scene: Scene) -> Answer:
        if not answer.rows or answer.content_type != JSON:
            return answer
        document = json.loads(answer.body)
        before = scene.layout.rows(document)
        after = spoil([list(row) for row in before], answer, scene)
        if after == before:
            return answer
        text = json.dumps(scene.layout.body(document, after), separators=(",", ":"))
        return replace(answer, body=text.encode(), rows=len(after))

    return fault


def _some(rows: list[Row], scene: Scene) -> list[int]:
    """A few row numbers, at least one; none of a row whose prices are null, as Yahoo's can be."""
    whole = [n for n, row in enumerate(rows) if row[scene.layout.close] is not None]
    return sorted(scene.rng.sample(whole, min(len(whole), 1 + scene.rng.randrange(3))))


def _wrong_types(rows: list[Row], _answer: Answer, scene: Scene) -> list[Row]:
    for n in _some(rows, scene):
        rows[n][scene.rng.randrange(scene.layout.cells)] = scene.rng.choice([None, "n/a", {}, [], "", {"price": "1.0"}])
    return rows


def _nan(rows: list[Row], _answer: Answer, scene: Scene) -> list[Row]:
    for n in _some(rows, scene):
        rows[n][scene.rng.randrange(1, 5)] = "NaN"
    return rows


def _duplicates(rows: list[Row], _answer: Answer, scene: Scene) -> list[Row]:
    for n in reversed(_some(rows, scene)):
        rows.insert(n, list(rows[n]))
    return rows


def _duplicates_differ(rows: list[Row], _answer: Answer, scene: Scene) -> list[Row]:
    cell = scene.layout
    for n in reversed(_some(rows, scene)):
        twin = list(rows[n])
        twin[cell.close] = twin[cell.low] if twin[cell.close] != twin[cell.low] else twin[cell.high]
        if cell.volume is not None:
            twin[cell.volume] = cell.number(float(twin[cell.volume]) / 2 + 1)
        rows.insert(n + scene.rng.randrange(2), twin)
    return rows


def _shuffle(rows: list[Row], _answer: Answer, scene: Scene) -> list[Row]:
    scene.rng.shuffle(rows)
    return rows


def _off_grid(rows: list[Row], _answer: Answer, scene: Scene) -> list[Row]:
    for n in _some(rows, scene):
        late = 1_000 * scene.rng.randrange(1, 30) + scene.rng.randrange(1_000)
        rows[n] = scene.layout.moved(rows[n], late)
    return rows


def _moved(row: Row, answer: Answer, scene: Scene, ms: int) -> Row:
    """The same candle at an open time of the grid at or before `ms`."""
    if answer.asked is None:
        return row
    step, cell = answer.asked.timeframe.ms, scene.layout
    moved = cell.moved(row, (ms - cell.time_ms(row)) // step * step)
    if cell.end is not None:
        moved[cell.end] = moved[0] + step - 1
    return moved


def _future(rows: list[Row], answer: Answer, scene: Scene) -> list[Row]:
    if answer.asked is None:
        return rows
    step, newest = answer.asked.timeframe.ms, scene.layout.time_ms(rows[-1])
    later = range(1, 2 + scene.rng.randrange(3))
    return rows + [_moved(rows[-1], answer, scene, max(scene.now_ms, newest) + n * step) for n in later]


def _outside(rows: list[Row], answer: Answer, scene: Scene) -> list[Row]:
    if answer.asked is None:
        return rows
    span, step, away = answer.asked.span, answer.asked.timeframe.ms, 2 + scene.rng.randrange(50)
    if span.start is not None and span.start > away * step:
        return [_moved(rows[0], answer, scene, span.start - away * step), *rows]
    if span.end is not None:
        return [*rows, _moved(rows[-1], answer, scene, span.end + away * step)]
    return rows


def _in_unit(convert: Callable[[int], int]) -> Fault:
    return _on_rows(lambda rows, _answer, scene: [scene.layout.in_units(row, convert) for row in rows])


def _short(rows: list[Row], _answer: Answer, scene: Scene) -> list[Row]:
    return rows[: scene.rng.randrange(1, len(rows))] if len(rows) > 1 else rows


def _left_out(rows: list[Row], _answer: Answer, scene: Scene) -> list[Row]:
    gone = set(_some(rows, scene))
    return [row for n, row in enumerate(rows) if n not in gone]


def _bad_ohlc(rows: list[Row], _answer: Answer, scene: Scene) -> list[Row]:
    cell = scene.layout
    for n in _some(rows, scene):
        rows[n][cell.high] = cell.number(float(rows[n][cell.low]) / 2)
    return rows


def _negative_volume(rows: list[Row], _answer: Answer, scene: Scene) -> list[Row]:
    cell = scene.layout
    if cell.volume is None:
        return rows
    for n in _some(rows, scene):
        rows[n][cell.volume] = cell.number(-float(rows[n][cell.volume]) or -1.0)
    return rows


FAULT: Mapping[str, Fault] = {
    "status:500": _said(500),
    "status:502": _gateway(502, "Bad Gateway"),
    "status:503": _said(503),
    "status:504": _gateway(504, "Gateway Time-out"),
    "status:429": _refused(429),
    "status:418": _refused(418),
    "status:403": _gateway(403, "Forbidden"),
    "status:451": lambda _answer, scene: scene.complain(451, 0, scene.now_ms),
    "reset": lambda answer, _scene: replace(answer, delivery="reset"),
    "hang": lambda answer, scene: _delayed(answer, scene.severity.hang_seconds),
    "truncate": lambda answer, _scene: replace(answer, delivery="cut"),
    "cut_json": _cut_json,
    "html": lambda answer, _scene: replace(
        answer, body=_GATEWAY.format("Please wait").encode(), content_type=HTML, rows=None
    ),
    "empty": _on_rows(lambda _rows, _answer, _scene: []),
    "empty_body": lambda answer, _scene: replace(answer, body=b"", rows=None),
    "wrong_types": _on_rows(_wrong_types),
    "nan": _on_rows(_nan),
    "duplicates": _on_rows(_duplicates),
    "duplicates_differ": _on_rows(_duplicates_differ),
    "shuffle": _on_rows(_shuffle),
    "off_grid": _on_rows(_off_grid),
    "future": _on_rows(_future),
    "seconds": _in_unit(lambda ms: ms // 1000),
    "micros": _in_unit(lambda ms: ms * 1000),
    "short": _on_rows(_short),
    "left_out": _on_rows(_left_out),
    "outside": _on_rows(_outside),
    "bad_ohlc": _on_rows(_bad_ohlc),
    "negative_volume": _on_rows(_negative_volume),
    "latency": lambda answer, scene: _delayed(answer, scene.severity.latency_seconds),
}

FAULTS = tuple(FAULT)
TRANSIENT = tuple(name for name in FAULTS if name not in {"status:403", "status:418", "status:451", "hang"})
"""What a client gets over within the same run; `hang` belongs here only while it is short."""
