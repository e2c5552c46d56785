"""The configuration file: what is understood, and one sentence with the key for everything that is not."""

from __future__ import annotations

from pathlib import Path

import pytest

from fetcher.config import BinanceSource, Config, WantedSeries, load
from fetcher.errors import ConfigError
from fetcher.model import Timeframe
from fetcher.values import parse_duration

T2024 = 1_704_067_200_000
SOURCES = "sources: {binance: {client: binance}}\n"
MARKET = "- {symbols: [BTC/USDT], timeframes: [1m], start: 2024-01-01, sources: [binance]}\n"


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """Where the file is to be."""
    return tmp_path / "config.yaml"


def read(path: Path, text: str, **environment: str) -> Config:
    """Write the file and load it with nothing in the environment but what is given."""
    path.write_text(text, encoding="utf-8")
    return load(path, environment)


def refusal(path: Path, text: str) -> str:
    """The sentence that says what is wrong, without the file's name in front."""
    with pytest.raises(ConfigError) as refused:
        read(path, text)
    sentence = str(refused.value)
    assert sentence.startswith(f"{path}: ")
    assert "\n" not in sentence
    return sentence.removeprefix(f"{path}: ")


def market(**changes: str) -> str:
    """A whole file whose one market has some keys changed."""
    keys = {"symbols": "[BTC/USDT]", "timeframes": "[1m]", "start": "2024-01-01", "sources": "[binance]"} | changes
    return SOURCES + "markets:\n- {" + ", ".join(f"{key}: {value}" for key, value in keys.items()) + "}\n"


def test_the_example_loads() -> None:
    """What the project ships as config.yaml is a configuration."""
    config = load(Path(__file__).parents[2] / "config.yaml", {})
    assert config.series()
    assert config.sources["binance"].client == "binance"


def test_the_shortest_file_has_every_default(path: Path) -> None:
    """Sources and markets are enough."""
    config = read(path, SOURCES + "markets:\n" + MARKET)
    assert config.series() == [WantedSeries("BTC/USDT", Timeframe("1m"), T2024, ("binance",))]
    assert config.database_url == f"sqlite:///{path.parent}/data/market.db"
    assert (config.run.workers, config.run.time_budget, config.logging.level) == (8, 50.0, "info")
    source = config.sources["binance"]
    assert isinstance(source, BinanceSource)
    assert source.base_urls == ["https://api.binance.com"]


def test_series_are_every_symbol_at_every_timeframe(path: Path) -> None:
    """In the file's order, markets one after another."""
    text = market(symbols="[ETH/USDT, BTC/USDT]", timeframes="[1h, 1M]")
    text += "- {symbols: [BTC/USDT], timeframes: [1m], start: '2024-01-01T12:00:00+12:00', sources: [binance]}\n"
    found = [(each.symbol, str(each.timeframe), each.start_ms) for each in read(path, text).series()]
    assert found == [
        *((symbol, name, T2024) for symbol in ("ETH/USDT", "BTC/USDT") for name in ("1h", "1M")),
        ("BTC/USDT", "1m", T2024),
    ]


@pytest.mark.parametrize("start", ["2024-01-01", "'2024-01-01'", "2024-01-01T00:00:00Z", "2024-01-01 00:00:00"])
def test_dates_are_utc_quoted_or_not(path: Path, start: str) -> None:
    """YAML's own dates and texts are the same."""
    assert read(path, market(start=start)).markets[0].start == T2024


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({"start": "2024-13-45"}, "markets[0].start: '2024-13-45' is not a date; write it like 2024-01-01"),
        ({"start": "9999-12-31"}, "markets[0].start: '9999-12-31' lies too far ahead"),
        ({"start": "yesterday"}, "markets[0].start: 'yesterday' is not a date"),
        ({"start": "1704067200000"}, "markets[0].start: 1704067200000 is not a date"),
        ({"start": ""}, "markets[0].start: None is not a date"),
        ({"start": "[2024-01-01]"}, "markets[0].start: ['2024-01-01'] is not a date"),
        ({"symbols": "[BTCUSDT]"}, "markets[0].symbols[0]: 'BTCUSDT' is not a symbol; write base and quote like"),
        ({"symbols": "[btc/usdt]"}, "markets[0].symbols[0]: 'btc/usdt' is not a symbol"),
        ({"symbols": "[BTC/USDT, BTC/USDT/X]"}, "markets[0].symbols[1]: 'BTC/USDT/X' is not a symbol"),
        ({"symbols": "['BTC / USDT']"}, "markets[0].symbols[0]: 'BTC / USDT' is not a symbol"),
        ({"symbols": "[/USDT]"}, "markets[0].symbols[0]: '/USDT' is not a symbol"),
        ({"symbols": "[]"}, "markets[0].symbols: needs at least one entry"),
        ({"symbols": "BTC/USDT"}, "markets[0].symbols: must be a list, like [a, b]"),
        ({"timeframes": "[1m, 7m]"}, "markets[0].timeframes[1]: unknown timeframe '7m'; one of 1m 3m"),
        ({"timeframes": "[60]"}, "markets[0].timeframes[0]: unknown timeframe '60'"),
        ({"timeframes": "[]"}, "markets[0].timeframes: needs at least one entry"),
        ({"sources": "[kraken]"}, "markets[0].sources: no source is called 'kraken'; known: binance"),
        ({"sources": "[binance, binance]"}, "markets[0].sources: a source is named twice"),
        ({"sources": "[]"}, "markets[0].sources: needs at least one entry"),
        ({"symbols": "[BTC/USDT, BTC/USDT]"}, "markets[0]: BTC/USDT 1m is configured twice"),
        ({"since": "2024-01-01"}, "markets[0].since: unknown key"),
    ],
)
def test_a_markets_mistakes_are_named_by_key(path: Path, changes: dict[str, str], sentence: str) -> None:
    """Where it is, what it is, and how to write it."""
    assert refusal(path, market(**changes)).startswith(sentence)


@pytest.mark.parametrize(
    ("settings", "sentence"),
    [
        ("client: bitmex", "sources.binance.client: must be one of 'binance', 'ccxt', 'coingecko', 'yahoo'"),
        ("client: [binance]", "sources.binance.client: must be one of 'binance', 'ccxt', 'coingecko', 'yahoo'"),
        ("timeout: 1s}, okx: {timeout: 1s", "sources.okx.client: is required"),
        ("timeout: 1s}, okx: {clinet: ccxt", "sources.okx.client: is required; sources.okx.clinet: unknown key"),
        ("timeout: 1s}, okx: {client: ccxt, exchange: 7", "sources.okx.exchange: must be text; put it between quotes"),
        ("timeout: 1s}, okx: {client: ccxt, exchange: okx, base_url: x", "sources.okx.base_url: 'x' is not a base URL"),
        ("base_url: https://x", "sources.binance.base_url: unknown key"),
        ("base_urls: []", "sources.binance.base_urls: needs at least one entry"),
        ("base_urls: [api.binance.com]", "sources.binance.base_urls[0]: 'api.binance.com' is not a base URL"),
        ("base_urls: ['https://user:word@host']", "sources.binance.base_urls[0]: "),
        ("base_urls: ['https://host?key=1']", "sources.binance.base_urls[0]: "),
        ("timeout: soon", "sources.binance.timeout: 'soon' is not a duration; write it like 50s, 10m or 2h"),
        ("timeout: 0s", "sources.binance.timeout: must be more than 0"),
        ("timeout: .inf", "sources.binance.timeout: inf is not a duration"),
        ("timeout: .nan", "sources.binance.timeout: nan is not a duration"),
        ("timeout: 9999d", "sources.binance.timeout: must be less than 34560000"),
        ("timeout: true", "sources.binance.timeout: True is not a duration"),
        ("weight_per_minute: 3", "sources.binance.weight_per_minute: must be at least 20"),
        ("weight_per_minute: lots", "sources.binance.weight_per_minute: must be a whole number"),
        ("weight_per_minute: 99.5", "sources.binance.weight_per_minute: must be a whole number"),
        ("weight_per_minute: .inf", "sources.binance.weight_per_minute: must be a whole number"),
        ("weight_per_minute: 99999999999999999999", "sources.binance.weight_per_minute: must be at most 1000000"),
        ("symbols: {BTCUSDT: XBT}", "sources.binance.symbols.BTCUSDT: 'BTCUSDT' is not a symbol"),
        ("symbols: {BTC/USDT: ''}", "sources.binance.symbols.BTC/USDT: '' is not a source's name of a market"),
        ("base_urls: ['http://host:65536']", "sources.binance.base_urls[0]: 'http://host:65536' is not a base URL"),
        ("base_urls: ['http://:80']", "sources.binance.base_urls[0]: 'http://:80' is not a base URL"),
        ("base_urls: ['http://a', 'http://a/']", "sources.binance.base_urls: the same entry stands there twice"),
        ("proxy: 'http://me:word@host:70000'", "sources.binance.proxy: is not a proxy: it needs a host, and a port"),
        ("proxy: 'ftp://me:word@host'", "sources.binance.proxy: is not a proxy; write it like http://127.0.0.1:3128"),
        ("proxy: []", "sources.binance.proxy: needs at least one entry"),
        ("proxy: [direct, 'ftp://me:word@host']", "sources.binance.proxy: entry 1: is not a proxy; write it like http"),
        ("proxy: ['me:word@host:1', 'http://me:word@host:1']", "sources.binance.proxy: the same entry stands there"),
        ("proxy: [direct, null]", "sources.binance.proxy: the same entry stands there twice"),
        ("proxy: 3128", "sources.binance.proxy: must be text like http://127.0.0.1:3128, or direct for none"),
    ],
)
def test_a_sources_mistakes_are_named_by_key(path: Path, settings: str, sentence: str) -> None:
    """The key's whole path stands first."""
    client = "" if settings.startswith("client") else "client: binance, "
    text = f"sources: {{binance: {{{client}{settings}}}}}\nmarkets:\n{MARKET}"
    said = refusal(path, text)
    assert said.startswith(sentence)
    assert "word" not in said.replace("password", "")


@pytest.mark.parametrize(
    ("section", "sentence"),
    [
        ("metrics: {listen: 9464}", "metrics.listen: 9464 is no address to listen on; write host and port like"),
        ("metrics: {listen: ':9464'}", "metrics.listen: ':9464' is no address to listen on"),
        ("metrics: {listen: 'host:65536'}", "metrics.listen: 'host:65536' is no address to listen on"),
        ("metrics: {listen: 'http://host:1'}", "metrics.listen: 'http://host:1' is no address to listen on"),
        ("metrics: {textfile: a.txt}", "metrics.textfile: 'a.txt' is not a file for node_exporter; write a path that"),
        ("metrics: {textfile: 7}", "metrics.textfile: 7 is not a file for node_exporter"),
        ('metrics: {textfile: "a\\0.prom"}', "metrics.textfile: 'a\\x00.prom' is not a file for node_exporter"),
        ("metrics: {port: 1}", "metrics.port: unknown key"),
        ("goals: {completeness: 1.01}", "goals.completeness: must be at most 1"),
        ("goals: {api_success: 99 %}", "goals.api_success: must be a number"),
        ("goals: {response: fast}", "goals.response: 'fast' is not a duration"),
    ],
)
def test_mistakes_about_metrics_and_goals_are_named_by_key(path: Path, section: str, sentence: str) -> None:
    """Before anything listens or writes."""
    assert refusal(path, f"{SOURCES}markets:\n{MARKET}{section}\n").startswith(sentence)


def test_metrics_are_off_unless_they_are_named(path: Path) -> None:
    """Address and file; the file lies beside the configuration unless its path is a whole one."""
    assert (read(path, market()).metrics.listen, read(path, market()).metrics.textfile) == (None, None)
    named = read(path, market() + "metrics: {listen: '[::1]:9464', textfile: candles.prom}\n").metrics
    assert (named.listen, named.textfile) == (("::1", 9464), path.parent / "candles.prom")
    whole = read(path, market() + "metrics: {listen: 'localhost:0', textfile: /var/lib/candles.prom}\n").metrics
    assert (whole.listen, whole.textfile) == (("localhost", 0), Path("/var/lib/candles.prom"))


def test_a_proxy_is_kept_with_its_scheme(path: Path) -> None:
    """Host and port alone mean http, so that every reader of the value sees user and password in their places."""
    for written in ("me:word@host:3128", "http://me:word@host:3128"):
        text = f"sources: {{binance: {{client: binance, proxy: '{written}'}}}}\nmarkets:\n{MARKET}"
        assert read(path, text).sources["binance"].proxy == ("http://me:word@host:3128",)


@pytest.mark.parametrize(
    ("written", "kept"),
    [
        ("null", (None,)),
        ("direct", (None,)),
        ("[host:1]", ("http://host:1",)),
        ("[direct, 'https://me:word@host:1', host:2]", (None, "https://me:word@host:1", "http://host:2")),
    ],
)
def test_a_source_may_have_several_proxies(path: Path, written: str, kept: tuple[str | None, ...]) -> None:
    """One or a list, where `direct` stands for no proxy."""
    text = f"sources: {{binance: {{client: binance, proxy: {written}}}}}\nmarkets:\n{MARKET}"
    assert read(path, text).sources["binance"].proxy == kept


@pytest.mark.parametrize(
    ("written", "kept"), [("null", ()), ("A_KEY", ("A_KEY",)), ("[A_KEY, B_KEY]", ("A_KEY", "B_KEY"))]
)
def test_coingecko_may_have_several_keys(path: Path, written: str, kept: tuple[str, ...]) -> None:
    """One name of a variable or a list of them."""
    plan = "demo" if kept else "keyless"
    text = f"sources: {{binance: {{client: coingecko, plan: {plan}, api_key_env: {written}}}}}\nmarkets:\n{MARKET}"
    assert getattr(read(path, text).sources["binance"], "api_key_env", None) == kept


@pytest.mark.parametrize("written", ["'CG-hush'", "[A_KEY, A_KEY]", "''", "[A_KEY, 7]"])
def test_a_key_itself_is_not_repeated(path: Path, written: str) -> None:
    """Whoever writes the key where its variable's name belongs does not read it on the screen."""
    text = f"sources: {{binance: {{client: coingecko, api_key_env: {written}}}}}\nmarkets:\n{MARKET}"
    said = refusal(path, text)
    assert said.startswith("sources.binance.api_key_env: ")
    assert "hush" not in said


@pytest.mark.parametrize("written", ["7", "[7]", "''"])
def test_a_key_file_is_a_path(path: Path, written: str) -> None:
    """Whatever else stands there is not repeated."""
    text = f"sources: {{binance: {{client: coingecko, plan: demo, api_key_file: {written}}}}}\nmarkets:\n{MARKET}"
    says = "sources.binance.api_key_file: needs the path of a file that holds the key, or a list of them"
    assert refusal(path, text).startswith(says)


@pytest.mark.parametrize("written", ["1h", "7", "soon", "40000d"])
def test_an_age_is_a_day_at_least(path: Path, written: str) -> None:
    """And a hundred years at most; null is for ever."""
    text = f"sources: {{binance: {{client: binance}}}}\nmarkets:\n{MARKET}"
    assert "is no age; write it like 7d" in refusal(path, f"{text}\nkeep: {{runs: {written}}}\n")


NEEDS_KEY = "needs a key; name its environment variable in api_key_env, or a file in api_key_file"


@pytest.mark.parametrize(
    ("written", "sentence"),
    [
        ("plan: demo", f"sources.binance: plan demo {NEEDS_KEY}"),
        ("plan: pro", f"sources.binance: plan pro {NEEDS_KEY}"),
        ("api_key_file: k", "sources.binance: api_key_file needs plan: demo or plan: pro, whichever the key is for"),
        ("api_key_env: A_KEY", "sources.binance: api_key_env needs plan: demo or plan: pro, whichever the key is for"),
    ],
)
def test_plan_and_key_have_to_fit(path: Path, written: str, sentence: str) -> None:
    """What no environment could mend is refused when the file is read."""
    assert refusal(path, f"sources: {{binance: {{client: coingecko, {written}}}}}\nmarkets:\n{MARKET}") == sentence


def test_socks_needs_its_package(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without PySocks every request through such a proxy would fail: it is refused when the file is read."""
    text = f"sources: {{binance: {{client: binance, proxy: 'socks5h://me:word@host:1080'}}}}\nmarkets:\n{MARKET}"
    monkeypatch.setattr("fetcher.values.find_spec", lambda _: None)
    assert refusal(path, text) == (
        "sources.binance.proxy: a socks proxy needs the package PySocks, which is not installed; name an http proxy"
    )
    monkeypatch.setattr("fetcher.values.find_spec", lambda _: object())
    assert read(path, text).sources["binance"].proxy == ("socks5h://me:word@host:1080",)


def test_the_environments_url_is_named_as_such(path: Path) -> None:
    """Whoever set FETCHER_DATABASE_URL does not look into the file."""
    with pytest.raises(ConfigError, match=r"^FETCHER_DATABASE_URL is not a database URL"):
        read(path, market(), FETCHER_DATABASE_URL="foo")


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("", "holds no configuration; it needs at least `sources` and `markets`"),
        ("- a\n- b\n", "holds no configuration"),
        (SOURCES, "markets: is required"),
        (SOURCES + "markets: []\n", "markets: needs at least one entry"),
        ("markets:\n" + MARKET, "sources: is required"),
        ("sources: {binance: binance}\nmarkets:\n" + MARKET, "sources.binance: must hold keys with values"),
        ("sources: [binance]\nmarkets:\n" + MARKET, "sources: must hold keys with values"),
        (SOURCES + "markets: [BTC/USDT]\n", "markets[0]: must hold keys with values"),
        ("sources: {}\nmarkets:\n" + MARKET, "markets[0].sources: no source is called 'binance'; known: none"),
        (SOURCES + "markets:\n" + MARKET + MARKET, "markets[1]: BTC/USDT 1m is configured twice"),
        (SOURCES + SOURCES + "markets:\n" + MARKET, "not valid YAML in line 2: key 'sources' is given twice"),
        (market() + "run: {workers: 4, workers: 8}\n", "not valid YAML in line 4: key 'workers' is given twice"),
        (market() + "run: {worker: 4}\n", "run.worker: unknown key"),
        (market() + "run: {workers: 0}\n", "run.workers: must be at least 1"),
        (market() + "run: {time_budget: 1y}\n", "run.time_budget: '1y' is not a duration"),
        (market() + "loging: {}\n", "loging: unknown key"),
        (market() + "5: {}\n", "[5]: is no key; keys are text"),
        (market() + "run:\n", "run: must hold keys with values"),
        (market() + "database_url: ''\n", "database_url is not a database URL; write it like sqlite:///market.db"),
        (market() + "database_url: me:word@host/x\n", "database_url is not a database URL"),
        (market() + "logging: {level: loud}\n", "logging.level: must be 'debug', 'info', 'warning' or 'error'"),
        (market() + "a: [\n", "not valid YAML in line"),
        (market() + "? [a, b]\n: c\n", "not valid YAML in line 4: found unhashable key"),
        (market() + "a: !!python/object:os.system {}\n", "not valid YAML in line 4"),
        (market() + "a: !!int b\n", "not valid YAML"),
        (market() + "a: " + "[" * 5000 + "\n", "not valid YAML"),
        (market() + "\x07", "not valid YAML"),
    ],
)
def test_a_files_mistakes_are_one_sentence(path: Path, text: str, sentence: str) -> None:
    """Never a traceback, whatever the file holds."""
    assert refusal(path, text).startswith(sentence)


def test_every_mistake_of_a_file_is_told_at_once(path: Path) -> None:
    """Three wrong keys, one run to learn of them."""
    sentence = refusal(path, market(start="soon", since="1") + "run: {workers: many}\n")
    assert all(f"{key}: " in sentence for key in ("markets[0].start", "markets[0].since", "run.workers"))


def test_a_file_that_cannot_be_read_is_told(path: Path) -> None:
    """Not there, a folder, or no text."""
    with pytest.raises(ConfigError, match="no such file; name one with --config"):
        load(path, {})
    with pytest.raises(ConfigError, match="cannot be read"):
        load(path.parent, {})
    path.write_bytes(b"\xff\xfe\xff")
    with pytest.raises(ConfigError, match="not UTF-8"):
        load(path, {})


def test_the_environment_wins_over_the_file(path: Path) -> None:
    """FETCHER_DATABASE_URL, unless it is empty."""
    text = market() + "database_url: sqlite:////srv/file.db\n"
    url = "postgresql+psycopg://u@h/d"
    assert read(path, text, FETCHER_DATABASE_URL=url).database_url == url
    assert read(path, text, FETCHER_DATABASE_URL="").database_url == "sqlite:////srv/file.db"


@pytest.mark.parametrize(
    ("url", "expected"),
    [
        ("sqlite:///market.db", "sqlite:///{folder}/market.db"),
        ("sqlite:///deep/er/market.db", "sqlite:///{folder}/deep/er/market.db"),
        ("sqlite:////abs/market.db", "sqlite:////abs/market.db"),
        ("sqlite+pysqlite:///market.db", "sqlite+pysqlite:///{folder}/market.db"),
        ("postgresql+psycopg://u@h/d", "postgresql+psycopg://u@h/d"),
    ],
)
def test_relative_paths_start_at_the_files_folder(
    path: Path, monkeypatch: pytest.MonkeyPatch, url: str, expected: str
) -> None:
    """Wherever cron happens to start the program; in the environment's URL too."""
    path.write_text(market() + f"database_url: {url}\n", encoding="utf-8")
    monkeypatch.chdir(path.parent)
    absolute = expected.format(folder=path.parent)
    assert load(Path(path.name), {}).database_url == absolute
    assert load(path, {"FETCHER_DATABASE_URL": url}).database_url == absolute


@pytest.mark.parametrize(
    ("text", "seconds"),
    [("50s", 50), ("2h", 7200), ("80ms", 0.08), ("1.5 m", 90), (" 1d ", 86400), (7, 7), (0.5, 0.5)],
)
def test_durations_are_read(text: object, seconds: float) -> None:
    """A number with its unit; a bare number is seconds."""
    assert parse_duration(text) == pytest.approx(seconds)


@pytest.mark.parametrize("text", ["", "s", "5 minutes", "-5s", "1h30m", "1e3s", None, [], True, 10**400])
def test_what_is_no_duration_is_refused(text: object) -> None:
    """With how to write one."""
    with pytest.raises(ValueError, match="write it like 50s, 10m or 2h"):
        parse_duration(text)
