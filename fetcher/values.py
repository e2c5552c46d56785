"""What each kind of value in the configuration may be: read, checked, and refused in one sentence."""

from __future__ import annotations

import re
from datetime import date, datetime
from importlib.util import find_spec
from pathlib import Path
from typing import Annotated, Any
from urllib.parse import urlsplit

from pydantic import AfterValidator, BeforeValidator, Field

from fetcher.clock import parse_utc
from fetcher.model import LAST_MS, Timeframe
from fetcher.quiet import QuietHours, parse_quiet_hours

_LONGEST = 400 * 86400.0  # seconds; sockets and waits take no unbounded ones
_SHORTEST_AGE, _LONGEST_AGE = 86400.0, 36500 * 86400.0  # seconds
_LAST_PORT = 65_535
DIRECT = "direct"  # stands for no proxy among proxies
_UNITS = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0, "d": 86400.0}
_SIZES = {"MB": 10**6, "GB": 10**9, "TB": 10**12}
_SIZE = re.compile(r"(\d+(?:\.\d+)?)\s*(MB|GB|TB)", re.IGNORECASE)
_DURATION = re.compile(r"(\d+(?:\.\d+)?)\s*(ms|s|m|h|d)")


def parse_duration(value: object) -> float:
    """Read `50s`, `2h`, `80ms` or a bare number of seconds; ValueError for anything else."""
    if isinstance(value, (int, float)) and not isinstance(value, bool) and abs(value) < _LONGEST:
        return float(value)
    match = _DURATION.fullmatch(value.strip()) if isinstance(value, str) else None
    if match is None:
        raise ValueError(f"{value!r} is not a duration; write it like 50s, 10m or 2h")
    return float(match[1]) * _UNITS[match[2]]


def _size(value: object) -> int:
    match = _SIZE.fullmatch(value.strip()) if isinstance(value, str) else None
    if match is None:
        raise ValueError(f"{value!r} is not a size; write it like 500MB or 2GB")
    return int(float(match[1]) * _SIZES[match[2].upper()])


def _age(value: object) -> float | None:
    """How long something is kept, in seconds; null: for ever."""
    match = _DURATION.fullmatch(value.strip()) if isinstance(value, str) else None
    age = None if match is None else float(match[1]) * _UNITS[match[2]]
    if value is not None and (age is None or not _SHORTEST_AGE <= age <= _LONGEST_AGE):
        raise ValueError(f"{value!r} is no age; write it like 7d or 730d (at least 1d), or null for ever")
    return age


def _start_ms(value: object) -> int:
    if isinstance(value, (datetime, date)):  # YAML reads an unquoted date as one
        value = value.isoformat()
    try:
        start = parse_utc(value) if isinstance(value, str) else _refuse_date(value)
    except (ValueError, OverflowError):
        return _refuse_date(value)
    if start > LAST_MS:
        raise ValueError(f"{value!r} lies too far ahead; write a date before the year 2200")
    return start


def _refuse_date(value: object) -> int:
    raise ValueError(f"{value!r} is not a date; write it like 2024-01-01 or 2024-01-01T12:00:00Z (UTC)")


def _symbol(value: str) -> str:
    base, slash, quote = value.partition("/")
    if not (slash and base and quote) or "/" in quote or value != value.upper() or any(c.isspace() for c in value):
        raise ValueError(f"{value!r} is not a symbol; write base and quote like BTC/USDT")
    return value


def _timeframe(value: object) -> Timeframe:
    return value if isinstance(value, Timeframe) else Timeframe(str(value))


def _base_url(value: str) -> str:
    if any(mark in value for mark in "@?#"):  # not repeated: it may hold a password or a key
        raise ValueError("a base URL holds no user, password or query; write it like https://api.binance.com")
    if not re.fullmatch(r"https?://[^\s/]+(/\S*)?", value) or not _has_host(value):
        raise ValueError(f"{value!r} is not a base URL; write it like https://api.binance.com")
    return value.rstrip("/")


def _proxy(value: str) -> str:
    """A proxy's URL with its scheme; what is wrong is told without repeating it, since it may hold a password."""
    url = value if "://" in value else f"http://{value}"
    if re.fullmatch(r"socks(4a?|5h?)://\S+", url):
        if find_spec("socks") is None:
            raise ValueError("a socks proxy needs the package PySocks, which is not installed; name an http proxy")
    elif not re.fullmatch(r"https?://[^\s/?#]+/?", url):
        raise ValueError("is not a proxy; write it like http://127.0.0.1:3128")
    if not _has_host(url):
        raise ValueError("is not a proxy: it needs a host, and a port from 1 to 65535")
    return url


def _proxies(value: object) -> tuple[str | None, ...]:
    """One proxy or several, None for the way without one; each is named once, and text wherever it is not null."""
    listed = value if isinstance(value, (list, tuple)) else [value]
    found: list[str | None] = []
    for number, each in enumerate(listed):
        where = f"entry {number}: " if len(listed) > 1 else ""
        if each is not None and not isinstance(each, str):
            raise ValueError(f"{where}must be text like http://127.0.0.1:3128, or {DIRECT} for none")
        try:
            found.append(None if each is None or each == DIRECT else _proxy(each))
        except ValueError as error:
            raise ValueError(f"{where}{error}") from None
    return tuple(distinct(some(found)))


def _variables(value: object) -> tuple[str, ...]:
    """The name of an environment variable, or several; what is wrong is not repeated: it may be the key itself."""
    listed = value if isinstance(value, (list, tuple)) else [] if value is None else some([value])
    for each in listed:
        if not isinstance(each, str) or not re.fullmatch(r"[A-Za-z_][A-Za-z0-9_]*", each):
            raise ValueError("needs the name of an environment variable like COINGECKO_API_KEY, or a list of them")
    return tuple(distinct(list(listed)))


def _variable(value: object) -> str | None:
    """The name of one environment variable, or none."""
    names = _variables(value)
    if len(names) > 1:
        raise ValueError("needs the name of one environment variable, or null")
    return next(iter(names), None)


def _secret_file(value: object) -> Path | None:
    """A file that holds secrets; what is wrong is not repeated: it may be a secret itself."""
    if value is None or isinstance(value, Path):
        return value
    if not isinstance(value, str) or not value.strip() or "://" in value or not value.isprintable():
        raise ValueError("needs the name of a file, which holds what shall not stand here")
    return Path(value)


def _files(value: object) -> tuple[str, ...]:
    """The path of a file, or several; what is wrong is not repeated: it may be the key itself."""
    listed = value if isinstance(value, (list, tuple)) else [] if value is None else some([value])
    for each in listed:
        if not isinstance(each, str) or not each.strip() or not each.isprintable():
            raise ValueError("needs the path of a file that holds the key, or a list of them")
    return tuple(distinct(list(listed)))


def _has_host(url: str) -> bool:
    """Whether a URL names a host, and no port that cannot be."""
    try:
        parts = urlsplit(url)
        return bool(parts.hostname) and parts.port != 0
    except ValueError:  # a port beyond 65535, a broken IPv6 address
        return False


def _market_id(value: str) -> str:
    if not value or any(c.isspace() for c in value):
        raise ValueError(f"{value!r} is not a source's name of a market; write it like XBTUSDT")
    return value


def _address(value: object) -> tuple[str, int]:
    """Host and port to listen on."""
    match = re.fullmatch(r"(\[[0-9A-Fa-f:.]+\]|[^\s:/@\[\]]+):(\d{1,5})", value) if isinstance(value, str) else None
    if match is None or int(match[2]) > _LAST_PORT:
        raise ValueError(f"{value!r} is no address to listen on; write host and port like 127.0.0.1:9464")
    return match[1].strip("[]"), int(match[2])


def _prom_file(value: object) -> Path:
    """A file that node_exporter reads; it passes over all with other endings."""
    if not isinstance(value, str) or not value.endswith(".prom") or not value.isprintable():
        raise ValueError(f"{value!r} is not a file for node_exporter; write a path that ends in .prom")
    return Path(value)


def distinct(value: list[Any]) -> list[Any]:
    """Refuse a list that names an entry twice."""
    if len(set(value)) < len(value):
        raise ValueError("the same entry stands there twice; name each once")
    return value


def some(value: list[Any]) -> list[Any]:
    """Refuse an empty list."""
    if not value:
        raise ValueError("needs at least one entry")
    return value


Address = Annotated[tuple[str, int], BeforeValidator(_address)]
PromFile = Annotated[Path, BeforeValidator(_prom_file)]
Age = Annotated[float | None, BeforeValidator(_age)]
Seconds = Annotated[float, BeforeValidator(parse_duration), Field(gt=0, lt=_LONGEST)]
ShortSeconds = Annotated[float, BeforeValidator(parse_duration), Field(ge=0, le=45)]  # less than any candle lasts
StartMs = Annotated[int, BeforeValidator(_start_ms)]
Symbol = Annotated[str, AfterValidator(_symbol)]
TimeframeName = Annotated[Timeframe, BeforeValidator(_timeframe)]
BaseUrl = Annotated[str, AfterValidator(_base_url)]
Proxies = Annotated[tuple[str | None, ...], BeforeValidator(_proxies)]
Files = Annotated[tuple[str, ...], BeforeValidator(_files)]
Variables = Annotated[tuple[str, ...], BeforeValidator(_variables)]
Variable = Annotated[str | None, BeforeValidator(_variable)]
SecretFile = Annotated[Path | None, BeforeValidator(_secret_file)]
Bytes = Annotated[int, BeforeValidator(_size)]
Quiet = Annotated[QuietHours | None, BeforeValidator(parse_quiet_hours)]
MarketId = Annotated[str, AfterValidator(_market_id)]
