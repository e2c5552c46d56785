"""The ways in to a source: its proxies times its keys, how each is named, and what shares one budget. Pure.

An exchange counts what comes from one address, whichever of its hosts is asked: each proxy is an address. An API with
keys counts by key, wherever that is used.
"""

from __future__ import annotations

import re
from collections import Counter
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence

_USER = re.compile(r"//[^?#]*@")  # up to the last @: a password with a slash in it is hidden too


@dataclass(frozen=True, slots=True)
class Way:
    """One proxy (a URL, None for none) with one key (the NAME of its environment variable, None for none).

    `name` is what tells an endpoint of this way from the source's others, `pool` the same of its budget; both are empty
    where there is no other, else they begin with a blank, and neither holds a secret.
    """

    name: str = ""
    pool: str = ""
    proxy: str | None = field(default=None, repr=False)  # may hold a password
    key_env: str | None = None


DIRECT = Way()


def ways(proxies: Sequence[str | None] = (None,), key_envs: Sequence[str] = ()) -> tuple[Way, ...]:
    """Every proxy with every key. Where there is one of a kind it is not named, and neither is the way without proxy.

    So a source keeps names and budget when more ways are added to it. Proxies that differ in their user only, as
    rotating ones do, are numbered: `via gate.example:7000`, `via gate.example:7000 #2`.
    """
    made, seen = [], Counter[str]()
    for proxy in proxies:
        via = ""
        if proxy is not None and len(proxies) > 1:
            host = host_of(proxy)
            seen[host] += 1
            via = f" via {host}" + (f" #{seen[host]}" if seen[host] > 1 else "")
        for env in key_envs or (None,):
            keyed = f" key {env}" if len(key_envs) > 1 else ""
            made.append(Way(via + keyed, keyed if key_envs else via, proxy, env))
    return tuple(made)


def host_of(url: str) -> str:
    """Host and port of an address, without the user and password that it may hold."""
    bare = without_password(url if "//" in url else f"//{url}")
    return re.split(r"[/?#]", bare.partition("//")[2], maxsplit=1)[0]


def without_password(url: str) -> str:
    """The address without the user and password that it may hold."""
    return _USER.sub("//", url, count=1)
