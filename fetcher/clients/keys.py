"""Keys of sources, by the environment variables or files that the configuration names; a key itself shows nowhere."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from fetcher.credentials import is_file, key_text

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence


def read_keys(
    names: Sequence[str], environment: Mapping[str, str] = os.environ
) -> tuple[dict[str, str], dict[str, str]]:
    """The keys that can be used, by the name of their variable or file, and a sentence for each that holds none."""
    keys: dict[str, str] = {}
    missing: dict[str, str] = {}
    for name in names:
        where = f"the file {name}" if is_file(name) else f"the environment variable {name}"
        try:
            key = key_text(name, environment)
        except OSError as error:
            missing[name] = f"{where} cannot be read: {error.strerror}"
            continue
        if not key:
            advice = "write the key into it" if is_file(name) else "set it where the program starts"
            missing[name] = f"{where} holds no key; {advice}"
        elif not key.isascii() or not key.isprintable():
            missing[name] = f"{where} holds characters that no key has"
        elif key in keys.values():  # its calls would be counted twice over
            missing[name] = f"{where} holds the key of another one"
        else:
            keys[name] = key
    return keys, missing
