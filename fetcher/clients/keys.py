"""Keys of sources from the environment, by the variables that the configuration names; a key itself shows nowhere."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence


def read_keys(
    variables: Sequence[str], environment: Mapping[str, str] = os.environ
) -> tuple[dict[str, str], dict[str, str]]:
    """The keys that can be used, by variable, and a sentence for each variable that holds none."""
    keys: dict[str, str] = {}
    missing: dict[str, str] = {}
    for variable in variables:
        key = environment.get(variable, "").strip()
        if not key:
            missing[variable] = f"the environment variable {variable} holds no key; set it where the program starts"
        elif not key.isascii() or not key.isprintable():
            missing[variable] = f"the environment variable {variable} holds characters that no key has"
        elif key in keys.values():  # its calls would be counted twice over
            missing[variable] = f"the environment variable {variable} holds the key of another one"
        else:
            keys[variable] = key
    return keys, missing
