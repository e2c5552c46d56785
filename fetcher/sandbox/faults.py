"""Everything that goes wrong between an exchange and its client, by name: each fault makes a good answer a bad one.

A fault that finds nothing to spoil (no rows, another kind of body) returns the very answer it was given.
"""

from __future__ import annotations

import json
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, TypeAlias

from fetcher.sandbox.answer import HTML, Answer
from fetcher.sandbox.limits import Refusal
from fetcher.sandbox.refusals import GEO_RESTRICTED, body, rate_limited

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from random import Random

Row: TypeAlias = "list[Any]"
_GATEWAY = (
    "<html>\r\n<head><title>{0}</title></head>\r\n<body>\r\n<center><h1>{0}</h1></center>\r\n</body>\r\n</html>\r\n"
)
_TIMES = (0, 6)


@dataclass(frozen=True, slots=True)
class Severity:
    """How bad: seconds of `hang` and `latency`, Retry-After seconds of an injected 429 or 418."""

    hang_seconds: float = 30.0
    latency_seconds: float = 0.5
    retry_after: int = 1


@dataclass(frozen=True, slots=True)
class Scene:
    """What a fault may use: seeded randomness, its severity, and the exchange's clock (ms UTC)."""

    rng: Random
    severity: Severity
    now_ms: int


Fault: TypeAlias = "Callable[[Answer, Scene], Answer]"


def _json_status(status: int, code: int, message: str) -> Fault:
    return lambda answer, _scene: replace(answer, status=status, body=body(code, message), rows=None)


def _gateway(status: int, title: str) -> Fault:
    page = _GATEWAY.format(f"{status} {title}").encode()
    return lambda _answer, _scene: Answer(status, page, content_type=HTML)  # a proxy's: no weight headers


def _refused(status: int) -> Fault:
    def fault(answer: Answer, scene: Scene) -> Answer:
        seconds = scene.severity.retry_after
        return rate_limited(Refusal(status, seconds, scene.now_ms + seconds * 1000), answer.headers, 6_000)

    return fault


def _cut_json(answer: Answer, _scene: Scene) -> Answer:
    return replace(answer, body=answer.body[: max(1, len(answer.body) // 2)], rows=None)


def _delayed(answer: Answer, seconds: float) -> Answer:
    return replace(answer, delay=answer.delay + seconds)


def _on_rows(spoil: Callable[[list[Row], Answer, Scene], list[Row]]) -> Fault:
    """A fault of a page of candles: works on the decoded rows and leaves every other answer alone."""

    def fault(answer: Answer, scene: Scene) -> Answer:
        if not answer.rows:
            return answer
        before = json.loads(answer.body)
        after = spoil([list(row) for row in before], answer, scene)
        if after == before:
            return answer
        return replace(answer, body=json.dumps(after, separators=(",", ":")).encode(), rows=len(after))

    return fault


def _some(rows: list[Row], scene: Scene) -> list[int]:
    """A few row numbers, at least one."""
    return sorted(scene.rng.sample(range(len(rows)), min(len(rows), 1 + scene.rng.randrange(3))))


def _wrong_types(rows: list[Row], _answer: Answer, scene: Scene) -> list[Row]:
    for n in _some(rows, scene):
        rows[n][scene.rng.randrange(11)] = scene.rng.choice([None, "n/a", {}, [], "", {"price": "1.0"}])
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
    for n in reversed(_some(rows, scene)):
        twin = list(rows[n])
        twin[4] = twin[3] if twin[4] != twin[3] else twin[2]
        twin[5] = f"{float(twin[5]) / 2 + 1:.8f}"
        rows.insert(n + scene.rng.randrange(2), twin)
    return rows


def _shuffle(rows: list[Row], _answer: Answer, scene: Scene) -> list[Row]:
    scene.rng.shuffle(rows)
    return rows


def _off_grid(rows: list[Row], _answer: Answer, scene: Scene) -> list[Row]:
    for n in _some(rows, scene):
        late = 1_000 * scene.rng.randrange(1, 30) + scene.rng.randrange(1_000)
        rows[n][0], rows[n][6] = rows[n][0] + late, rows[n][6] + late
    return rows


def _moved(row: Row, answer: Answer, ms: int) -> Row:
    """The same candle at an open time of the grid at or before `ms`."""
    if answer.asked is None:
        return row
    step = answer.asked.timeframe.ms
    opened = row[0] + (ms - row[0]) // step * step
    return [opened, *row[1:6], opened + step - 1, *row[7:]]


def _future(rows: list[Row], answer: Answer, scene: Scene) -> list[Row]:
    if answer.asked is None:
        return rows
    step = answer.asked.timeframe.ms
    later = range(1, 2 + scene.rng.randrange(3))
    return rows + [_moved(rows[-1], answer, max(scene.now_ms, rows[-1][0]) + n * step) for n in later]


def _outside(rows: list[Row], answer: Answer, scene: Scene) -> list[Row]:
    if answer.asked is None:
        return rows
    span, step, away = answer.asked.span, answer.asked.timeframe.ms, 2 + scene.rng.randrange(50)
    if span.start is not None and span.start > away * step:
        return [_moved(rows[0], answer, span.start - away * step), *rows]
    if span.end is not None:
        return [*rows, _moved(rows[-1], answer, span.end + away * step)]
    return rows


def _in_unit(convert: Callable[[int], int]) -> Fault:
    def spoil(rows: list[Row], _answer: Answer, _scene: Scene) -> list[Row]:
        return [[convert(cell) if n in _TIMES else cell for n, cell in enumerate(row)] for row in rows]

    return _on_rows(spoil)


def _short(rows: list[Row], _answer: Answer, scene: Scene) -> list[Row]:
    return rows[: scene.rng.randrange(1, len(rows))] if len(rows) > 1 else rows


def _left_out(rows: list[Row], _answer: Answer, scene: Scene) -> list[Row]:
    gone = set(_some(rows, scene))
    return [row for n, row in enumerate(rows) if n not in gone]


def _bad_ohlc(rows: list[Row], _answer: Answer, scene: Scene) -> list[Row]:
    for n in _some(rows, scene):
        rows[n][2] = f"{float(rows[n][3]) / 2:.8f}"
    return rows


def _negative_volume(rows: list[Row], _answer: Answer, scene: Scene) -> list[Row]:
    for n in _some(rows, scene):
        rows[n][5] = f"-{rows[n][5]}" if float(rows[n][5]) else "-1.00000000"
    return rows


FAULT: Mapping[str, Fault] = {
    "status:500": _json_status(500, -1000, "An unknown error occurred while processing the request."),
    "status:502": _gateway(502, "Bad Gateway"),
    "status:503": _json_status(
        503, -1008, "Server is currently overloaded with other requests. Please try again in a few minutes."
    ),
    "status:504": _gateway(504, "Gateway Time-out"),
    "status:429": _refused(429),
    "status:418": _refused(418),
    "status:403": _gateway(403, "Forbidden"),
    "status:451": lambda _answer, _scene: Answer(451, GEO_RESTRICTED),
    "reset": lambda answer, _scene: replace(answer, delivery="reset"),
    "hang": lambda answer, scene: _delayed(answer, scene.severity.hang_seconds),
    "truncate": lambda answer, _scene: replace(answer, delivery="cut"),
    "cut_json": _cut_json,
    "html": lambda answer, _scene: replace(
        answer, body=_GATEWAY.format("Please wait").encode(), content_type=HTML, rows=None
    ),
    "empty": lambda answer, _scene: replace(answer, body=b"[]", rows=0) if answer.rows else answer,
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
