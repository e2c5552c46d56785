"""Files with secrets in them that others on this machine can read: for `config check`, `doctor`, and once for runs."""

from __future__ import annotations

import logging
import stat
from ipaddress import ip_address
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from db import state
from db.engine import reading, writing
from fetcher.credentials import CREDENTIALS_FOLDER, ENVIRONMENT_FILE, is_file
from fetcher.observe.lines import say

if TYPE_CHECKING:
    from collections.abc import Iterator

    from sqlalchemy import Engine

    from fetcher.cli.invocation import Invocation
    from fetcher.config import Config


def exposed(config: Config, path: Path) -> list[str]:
    """A sentence for each file that holds a secret and that others than its owner and group can read."""
    files = [Path(name) for source in config.sources.values() for name in _keys(source) if is_file(name)]
    files += [file for file in (config.alerts.to_file, config.alerts.ping_url_file) if file is not None]
    files += [path.parent / ENVIRONMENT_FILE, *sorted(path.parent.joinpath(CREDENTIALS_FOLDER).glob("*"))]
    words = "{0}, which holds secrets, can be read by others; run: chmod 600 {0}"
    found = [words.format(file) for file in files if is_open(file)]
    if is_open(path) and any(map(_has_password, _urls(config))):
        found.append(f"{path} holds a password and can be read by others; run: chmod 600 {path}")
    return found


def unencrypted(config: Config) -> list[str]:
    """A sentence for each source that is asked without encryption over a network."""
    found = []
    for name, source in config.sources.items():
        urls = [*getattr(source, "base_urls", ()), *(getattr(source, key, None) for key in ("base_url", "archive_url"))]
        plain = [url for url in urls if url and url.startswith("http://") and not _is_near(url)]
        found += [
            f"sources.{name} is asked at {url}, without encryption: anybody on the way can read and change the answers"
            for url in plain
        ]
    return found


def is_open(path: Path) -> bool:
    """Whether every account of this machine can read a file: its own mode and that of each folder above allow it."""
    try:
        whole = path.resolve(strict=True)
        mode = whole.stat().st_mode
        above = all(folder.stat().st_mode & stat.S_IXOTH for folder in whole.parents)
        return above and stat.S_ISREG(mode) and bool(mode & stat.S_IROTH)
    except OSError:
        return False


def warn_once(call: Invocation, engine: Engine) -> None:
    """Log what is exposed, each time that this changes and once in three months, not with each run of cron."""
    sentences = exposed(call.config, call.config_path)
    text = "\n".join(sentences)
    with reading(engine) as connection:
        known = state.cache_get(connection, _KEY)
    if text == ("" if known is None else known[0]):
        return
    with writing(engine) as connection:
        state.cache_put(connection, _KEY, text, call.clock.now_ms())
    for sentence in sentences:
        say(logging.WARNING, "exposed", "%s", sentence)


_KEY = "exposed"


def _keys(source: object) -> tuple[str, ...]:
    names: tuple[str, ...] = getattr(source, "key_names", ())
    return names


def _urls(config: Config) -> Iterator[str]:
    """The addresses in the file that may hold a password."""
    if not config.url_from_environment:
        yield config.database_url
    for source in config.sources.values():
        yield from filter(None, source.proxy)


def _has_password(url: str) -> bool:
    parts = urlsplit(url)
    return bool(parts.password) or "password=" in parts.query


def _is_near(url: str) -> bool:
    host = urlsplit(url).hostname or ""
    try:
        return ip_address(host).is_private
    except ValueError:
        return host == "localhost"
