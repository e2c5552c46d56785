"""Secrets are known here once the configuration is read, and are masked in whatever is told or kept.

For the whole process, like the log itself: what a library or a source says may hold a key wherever it comes out.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable

_SHORT = 4  # a shorter one is hidden only where it stands alone: it occurs inside other words by chance
_hidden: list[str] = []


def hide(secrets: Iterable[str]) -> None:
    """Mask these from now on, besides those that are masked already."""
    _hidden[:] = sorted({*_hidden, *filter(None, secrets)}, key=len, reverse=True)


def masked(text: str, more: Iterable[str] = ()) -> str:
    """The text with `***` instead of every secret, the longest first."""
    for secret in (*_hidden, *more):
        if secret in text:
            text = text.replace(secret, "***") if len(secret) >= _SHORT else _without_word(text, secret)
    return text


def _without_word(text: str, secret: str) -> str:
    return re.sub(rf"(?<!\w){re.escape(secret)}(?!\w)", "***", text)
