"""Which secrets a configuration brings along, so that they can be masked wherever they come out."""

from __future__ import annotations

import os
from functools import partial
from typing import TYPE_CHECKING
from urllib.parse import parse_qsl, unquote, urlsplit

from fetcher.credentials import key_text
from fetcher.targets import secrets_in

if TYPE_CHECKING:
    from collections.abc import Mapping

    from fetcher.config import Config


def secrets_of(config: Config, environment: Mapping[str, str] = os.environ) -> tuple[str, ...]:
    """What no line may hold: users and passwords of proxies and of the database, as written and decoded; every key.

    Nor addresses of those who are told of alerts, whole or in parts.
    """
    urls = [config.database_url, *(proxy for source in config.sources.values() for proxy in source.proxy if proxy)]
    found = {environment.get("PGPASSWORD", "")} | secrets_in(config.alerts, environment)
    for source in config.sources.values():
        if source.client == "coingecko":
            found |= set(map(partial(_key_of, environment), source.key_names))
    for url in urls:
        parts = urlsplit(url)
        userinfo = parts.netloc.rpartition("@")[0]
        password = userinfo.partition(":")[2]
        if password or url != config.database_url:  # a user of the database alone is none; of a proxy it may be a token
            found |= {userinfo, password, unquote(password)}
        found |= {value for name, value in parse_qsl(parts.query) if "password" in name}
    return tuple(sorted((text for text in found if text), key=len, reverse=True))


def _key_of(environment: Mapping[str, str], name: str) -> str:
    try:
        return key_text(name, environment)
    except OSError:  # said where it is used
        return ""
