"""The configuration file as checked values; anything wrong is one `ConfigError` that says what and where."""

from __future__ import annotations

import os
import re
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal, TypeVar, get_args

import yaml
from msgspec import Struct
from pydantic import AfterValidator, Field, PrivateAttr, ValidationError, model_validator

from fetcher.credentials import credential
from fetcher.errors import ConfigError
from fetcher.sections import Alerts, Daemon, Goals, Keep, Logging, Metrics, Run, Section
from fetcher.strict_yaml import StrictLoader
from fetcher.values import (
    BaseUrl,
    Files,
    MarketId,
    Proxies,
    Seconds,
    StartMs,
    Symbol,
    TimeframeName,
    Variables,
    distinct,
    some,
)

if TYPE_CHECKING:
    from collections.abc import Mapping

    from fetcher.model import Timeframe

_NAME = "config.yaml"


class BinanceSource(Section):
    """Binance's REST API, or mirrors of it: `base_urls` share the limits, which hold per asking address (`proxy`)."""

    client: Literal["binance"]
    base_urls: Annotated[list[BaseUrl], AfterValidator(some), AfterValidator(distinct)] = Field(
        default=["https://api.binance.com"]
    )
    archive_url: BaseUrl | None = "https://data.binance.vision"
    weight_per_minute: int = Field(default=6000, ge=20, le=1_000_000)
    timeout: Seconds = 10.0
    proxy: Proxies = (None,)
    symbols: dict[Symbol, MarketId] = Field(default={})


class CcxtSource(Section):
    """Any exchange that ccxt knows, by its id; `base_url` stands in for the exchange's own hosts."""

    client: Literal["ccxt"]
    exchange: str
    base_url: BaseUrl | None = None
    weight_per_minute: int | None = Field(default=None, ge=1, le=1_000_000)
    timeout: Seconds = 10.0
    proxy: Proxies = (None,)
    symbols: dict[Symbol, MarketId] = Field(default={})


class CoinGeckoSource(Section):
    """CoinGecko's price index, a last resort: no volume, few timeframes, short history; limits hold per key."""

    client: Literal["coingecko"]
    base_url: BaseUrl | None = None
    api_key_env: Variables = ()
    api_key_file: Files = ()
    plan: Literal["keyless", "demo", "pro"] = "keyless"
    weight_per_minute: int | None = Field(default=None, ge=1, le=100_000)
    timeout: Seconds = 15.0
    proxy: Proxies = (None,)
    symbols: dict[Symbol, MarketId] = Field(default={})

    @model_validator(mode="after")
    def _check_key(self) -> CoinGeckoSource:
        if self.plan == "keyless" and self.key_names:
            key = "api_key_env" if self.api_key_env else "api_key_file"
            raise ValueError(f"{key} needs plan: demo or plan: pro, whichever the key is for")
        if self.plan != "keyless" and not self.key_names:
            raise ValueError(
                f"plan {self.plan} needs a key; name its environment variable in api_key_env, or a file in api_key_file"
            )
        return self

    @property
    def key_names(self) -> tuple[str, ...]:
        """The variables and the files (by absolute path) that hold its keys; see fetcher/clients/keys.py."""
        return (*self.api_key_env, *self.api_key_file)


class YahooSource(Section):
    """Yahoo Finance's composite prices, a last resort: volume in quote currency, short intraday history."""

    client: Literal["yahoo"]
    base_url: BaseUrl | None = None
    weight_per_minute: int = Field(default=60, ge=1, le=100_000)
    timeout: Seconds = 15.0
    proxy: Proxies = (None,)
    symbols: dict[Symbol, MarketId] = Field(default={})


S = TypeVar("S", bound=Section)
SourceSettings = BinanceSource | CcxtSource | CoinGeckoSource | YahooSource


class Market(Section):
    """Series to keep: every symbol at every timeframe from `start` (ms UTC) on; the best of `sources` first."""

    symbols: Annotated[list[Symbol], AfterValidator(some)]
    timeframes: Annotated[list[TimeframeName], AfterValidator(some)]
    start: StartMs
    sources: Annotated[list[str], AfterValidator(some)]


class Config(Section):
    """The whole configuration file."""

    database_url: str = "sqlite:///data/market.db"
    sources: dict[str, Annotated[SourceSettings, Field(discriminator="client")]]
    markets: Annotated[list[Market], AfterValidator(some)]
    run: Run = Run()
    daemon: Daemon = Daemon()
    logging: Logging = Logging()
    metrics: Metrics = Metrics()
    goals: Goals = Goals()
    alerts: Alerts = Alerts()
    keep: Keep = Keep()
    _url_from_environment: bool = PrivateAttr(default=False)

    @property
    def url_from_environment(self) -> bool:
        """Whether `database_url` came from outside the file."""
        return self._url_from_environment

    @model_validator(mode="after")
    def _check_markets(self) -> Config:
        seen: set[str] = set()
        for number, market in enumerate(self.markets):
            if len(set(market.sources)) < len(market.sources):
                raise ValueError(f"markets[{number}].sources: a source is named twice; name each once, the best first")
            for name in market.sources:
                if name not in self.sources:
                    known = ", ".join(self.sources) or "none"
                    raise ValueError(f"markets[{number}].sources: no source is called {name!r}; known: {known}")
            for key in (f"{symbol} {timeframe}" for symbol in market.symbols for timeframe in market.timeframes):
                if key in seen:
                    raise ValueError(f"markets[{number}]: {key} is configured twice; list each series once")
                seen.add(key)
        return self

    def series(self) -> list[WantedSeries]:
        """Every configured series once, in the file's order."""
        return [
            WantedSeries(symbol, timeframe, market.start, tuple(market.sources))
            for market in self.markets
            for symbol in market.symbols
            for timeframe in market.timeframes
        ]


class WantedSeries(Struct, frozen=True):
    """One configured series: `start_ms` is ms UTC, `sources` in order of preference."""

    symbol: str
    timeframe: Timeframe
    start_ms: int
    sources: tuple[str, ...]


def found_config() -> Path:
    """The configuration where none is named: that of FETCHER_CONFIG, else the one here, else beside the program."""
    if named := os.environ.get("FETCHER_CONFIG"):
        return Path(named)
    here, beside = Path(_NAME), Path(__file__).resolve().parents[1] / _NAME
    return here if here.exists() or not beside.exists() else beside


def load(path: Path, environment: Mapping[str, str] = os.environ) -> Config:
    """Read and check a configuration file; FETCHER_DATABASE_URL (or systemd's credential) wins over `database_url`.

    Raises ConfigError with one sentence that names the file and the key.
    """
    try:
        content = yaml.load(path.read_text(encoding="utf-8"), StrictLoader)  # noqa: S506 (a SafeLoader underneath)
    except FileNotFoundError:
        raise ConfigError(f"{path}: no such file; name one with --config FILE or FETCHER_CONFIG") from None
    except (OSError, UnicodeDecodeError) as error:
        reason = getattr(error, "strerror", None) or "it is not UTF-8 text"
        raise ConfigError(f"{path}: cannot be read: {reason}") from None
    except yaml.MarkedYAMLError as error:
        where = f" in line {error.problem_mark.line + 1}" if error.problem_mark else ""
        raise ConfigError(f"{path}: not valid YAML{where}: {_without_passwords(str(error.problem))}") from None
    except (yaml.YAMLError, ValueError, RecursionError):  # the last two of values that PyYAML tries to convert
        raise ConfigError(f"{path}: not valid YAML") from None
    if not isinstance(content, dict):
        raise ConfigError(f"{path}: holds no configuration; it needs at least `sources` and `markets`")
    try:
        config = Config.model_validate(content)
    except ValidationError as error:
        raise ConfigError(f"{path}: {_sentence(error)}") from None
    from_environment = environment.get("FETCHER_DATABASE_URL") or credential("FETCHER_DATABASE_URL", environment)
    url = from_environment or config.database_url
    if not re.match(r"\w+(\+\w+)?://", url):  # not repeated: it may hold a password
        where = "FETCHER_DATABASE_URL" if from_environment else f"{path}: database_url"
        raise ConfigError(f"{where} is not a database URL; write it like sqlite:///market.db")
    beside = {
        "metrics": _beside(path, config.metrics, "textfile"),
        "alerts": _beside(path, config.alerts, "to_file", "ping_url_file"),
    }
    sources = {name: _with_absolute_files(source, path) for name, source in config.sources.items()}
    loaded = config.model_copy(update={"database_url": absolute_url(url, path), "sources": sources, **beside})
    loaded._url_from_environment = bool(from_environment)  # noqa: SLF001 (frozen for everybody else)
    return loaded


_PLAIN_WORDS = {
    "extra_forbidden": "unknown key",
    "missing": "is required",
    "list_type": "must be a list, like [a, b]",
    "dict_type": "must hold keys with values",
    **dict.fromkeys(("model_type", "model_attributes_type"), "must hold keys with values"),
    "string_type": "must be text; put it between quotes",
    **dict.fromkeys(
        ("int_type", "int_parsing", "int_parsing_size", "int_from_float", "finite_number"), "must be a whole number"
    ),
    **dict.fromkeys(("float_type", "float_parsing"), "must be a number"),
    "greater_than": "must be more than {gt}",
    "greater_than_equal": "must be at least {ge}",
    "less_than": "must be less than {lt}",
    "less_than_equal": "must be at most {le}",
    "literal_error": "must be {expected}",
    "invalid_key": "is no key; keys are text",
    "union_tag_not_found": "is required",
    "union_tag_invalid": "must be one of {expected_tags}",
}
"""What pydantic calls a problem, and what people understand; {names} are of its context."""
_KEYS = {key for kind in get_args(SourceSettings) for key in kind.model_fields}  # of any source


def _sentence(error: ValidationError) -> str:
    parts = []
    for problem in error.errors(include_url=False):
        where = ""
        steps = list(problem["loc"])
        if steps[:1] == ["sources"]:
            del steps[2:3]  # the client's name, by which pydantic tells the kinds of sources apart
        for step in steps:
            if step != "[key]":  # pydantic's mark of a key that is wrong itself
                where += f"[{step}]" if isinstance(step, int) else f".{step}" if where else str(step)
        context = {name: int(v) if isinstance(v, float) else v for name, v in problem.get("ctx", {}).items()}
        plain = _PLAIN_WORDS.get(problem["type"], "").format_map(context)
        if problem["type"].startswith("union_tag"):
            where += ".client"
        message = plain or problem["msg"].removeprefix("Value error, ")
        parts.append(f"{where}: {message}" if where else message)
        if problem["type"] == "union_tag_not_found":  # perhaps since it is mistyped
            parts += [
                f"{where.removesuffix('client')}{key}: unknown key" for key in problem["input"] if key not in _KEYS
            ]
    return _without_passwords("; ".join(parts))


def _without_passwords(text: str) -> str:
    """What a user wrote, repeated without the user and password of any URL in it."""
    return re.sub(r"//[^\s;]*@", "//***@", text)


def _beside(config_path: Path, section: S, *keys: str) -> S:
    """The section with the paths under these keys starting at the folder of the configuration."""
    folder = config_path.resolve().parent
    return section.model_copy(
        update={key: folder / path for key in keys if (path := getattr(section, key)) is not None}
    )


def _with_absolute_files(source: SourceSettings, config_path: Path) -> SourceSettings:
    """The same source, its files named from the configuration's folder on."""
    if source.client != "coingecko" or not source.api_key_file:
        return source
    files = tuple(str(config_path.resolve().parent / Path(file).expanduser()) for file in source.api_key_file)
    return source.model_copy(update={"api_key_file": files})


def absolute_url(url: str, config_path: Path) -> str:
    """The URL of a database with a relative SQLite path starting at the folder of the configuration."""
    scheme, slashes, path = url.partition(":///")
    if scheme not in {"sqlite", "sqlite+pysqlite"} or not path or path.startswith(("/", ":memory:", "file:")):
        return url
    return f"{scheme}{slashes}{config_path.resolve().parent / path}"
