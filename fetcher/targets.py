"""Who is to be told: apprise's URLs from the environment and from files. They hold secrets, and show nowhere."""

from __future__ import annotations

import hashlib
import os
import re
from dataclasses import dataclass, field
from typing import TYPE_CHECKING
from urllib.parse import unquote, urlsplit

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from fetcher.sections import Alerts

_URL = re.compile(r"[A-Za-z][A-Za-z0-9+.-]*://\S+")
_PIECE = re.compile(r"[/:?&=#]+")
_LONG_SECRET = 8  # characters; a shorter piece of a path is hardly one, and masking it spoils other words


@dataclass(frozen=True, slots=True)
class Target:
    """One address: `name` says where it stands and what service it is, `id` is a digest that tells nothing of it."""

    url: str = field(repr=False)
    name: str
    id: str


def read_targets(settings: Alerts, environment: Mapping[str, str] = os.environ) -> tuple[list[Target], list[str]]:
    """The targets, each once, and a sentence for whatever is wrong with where they should stand."""
    targets: dict[str, Target] = {}
    problems: list[str] = []
    for source, text in _texts(settings, environment, problems):
        for number, word in enumerate(text.split(), 1):
            if not _URL.fullmatch(word):
                problems.append(
                    f"entry {number} of {source} is no address; write them like mailto://user:password@host"
                )
                continue
            digest = hashlib.sha256(word.encode()).hexdigest()[:16]
            targets.setdefault(digest, Target(word, f"{source} {number} ({urlsplit(word).scheme})", digest))
    return list(targets.values()), problems


def read_ping_url(settings: Alerts, environment: Mapping[str, str] = os.environ) -> tuple[str | None, str | None]:
    """Where a sign of life is to go, and a sentence where that is no good; None, None where nobody wants one."""
    source, text = settings.ping_url_env, environment.get(settings.ping_url_env or "", "").strip()
    if not text and settings.ping_url_file is not None:
        source = f"alerts.ping_url_file {settings.ping_url_file.name}"
        text, problem = _read(settings.ping_url_file, source)
        if problem:
            return None, problem
        text = text.strip()
    if not text:
        return None, None
    if not re.fullmatch(r"https?://[^\s/]+\S*", text) or not text.isprintable():
        return None, f"{source} holds no address; write it like https://hc-ping.com/your-uuid"
    return text, None


def problems_of(settings: Alerts, environment: Mapping[str, str] = os.environ) -> list[str]:
    """A sentence for whatever keeps somebody from being told, also a variable that is named and not set."""
    named = settings.model_fields_set & {"to_env", "ping_url_env"}
    variables = [*(settings.to_env if "to_env" in named else ())]
    variables += [settings.ping_url_env] if "ping_url_env" in named and settings.ping_url_env else []
    unset = [f"the environment variable {each} is not set" for each in variables if not environment.get(each)]
    ping = read_ping_url(settings, environment)[1]
    return [f"alerts: {each}" for each in [*unset, *read_targets(settings, environment)[1], *([ping] if ping else [])]]


def secrets_in(settings: Alerts, environment: Mapping[str, str] = os.environ) -> set[str]:
    """All that no line may hold of these addresses: each whole, its user and password, what may be a token in it."""
    urls = [target.url for target in read_targets(settings, environment)[0]]
    ping, _ = read_ping_url(settings, environment)
    return {secret for url in [*urls, *([ping] if ping else [])] for secret in secret_parts(url)}


def secret_parts(url: str) -> set[str]:
    """The pieces of an address that may be secret; a host that is a domain or an address is none."""
    rest = url.partition("://")[2]
    front = re.split(r"[/?#]", rest, maxsplit=1)[0]
    userinfo, _, host = front.rpartition("@")
    name = host.partition(":")[0]
    pieces = [*_PIECE.split(rest[len(front) :]), *([] if "." in name or name == "localhost" else [name])]
    found = {url, userinfo, userinfo.partition(":")[2], *(piece for piece in pieces if len(piece) >= _LONG_SECRET)}
    return {each for text in found for each in (text, unquote(text)) if each}


def _texts(settings: Alerts, environment: Mapping[str, str], problems: list[str]) -> list[tuple[str, str]]:
    found = [(variable, environment.get(variable, "")) for variable in settings.to_env]
    if settings.to_file is not None:
        source = f"alerts.to_file {settings.to_file.name}"
        text, problem = _read(settings.to_file, source)
        problems += [problem] if problem else []
        lines = (line for line in text.splitlines() if not line.lstrip().startswith("#"))
        found.append((source, "\n".join(lines)))
    return found


def _read(path: Path, source: str) -> tuple[str, str | None]:
    try:
        return path.read_text(encoding="utf-8"), None
    except (OSError, UnicodeDecodeError) as error:
        return "", f"{source} cannot be read: {getattr(error, 'strerror', None) or 'it is not UTF-8 text'}"
