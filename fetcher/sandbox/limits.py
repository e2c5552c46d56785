"""How much an exchange lets itself be asked: Binance's weight with its bans, and the plain windows of the others."""

from __future__ import annotations

from msgspec import Struct

from fetcher.model import MINUTE


class Refusal(Struct, frozen=True):
    """A request that was not served: status 429 or 418, the seconds to stay away, and until when (ms UTC)."""

    status: int
    retry_after: int
    until_ms: int


class WeightLimit(Struct):
    """Weight used in the current minute of the exchange's clock, and the rest or ban that follows an excess."""

    per_minute: int = 6_000
    ban_after: int = 10
    ban_seconds: int = 120
    used: int = 0
    _minute: int = -1
    _rest_until: int = 0
    _ban_until: int = 0
    _strikes: int = 0

    def admit(self, weight: int, now_ms: int) -> Refusal | None:
        """Count one request; None when it may be served."""
        minute = now_ms // MINUTE
        if minute != self._minute:
            self._minute, self.used = minute, 0
        self.used += weight
        if now_ms < self._ban_until:
            return _refusal(418, self._ban_until, now_ms)
        if now_ms < self._rest_until:
            self._strikes += 1
            if self._strikes < self.ban_after:
                return _refusal(429, self._rest_until, now_ms)
            self._strikes, self._ban_until = 0, now_ms + self.ban_seconds * 1000
            return _refusal(418, self._ban_until, now_ms)
        self._strikes = 0
        if self.used <= self.per_minute:
            return None
        seconds = -(-((minute + 1) * MINUTE - now_ms) // 1000)
        self._rest_until = now_ms + seconds * 1000  # what was told, to the ms: coming back earlier is a strike
        return _refusal(429, self._rest_until, now_ms)

    def pardon(self) -> None:
        """Forget rests, bans and strikes, as when the clock is set."""
        self._minute, self.used, self._rest_until, self._ban_until, self._strikes = -1, 0, 0, 0, 0


class WindowLimit(Struct):
    """At most `allowed` weight in each fixed window of the exchange's clock; those above are refused, nobody is banned.

    Refused requests count like served ones. `window_ms` divides a day.
    """

    allowed: int
    window_ms: int = MINUTE
    used: int = 0
    _window: int = -1

    def admit(self, weight: int, now_ms: int) -> Refusal | None:
        """Count one request; None when it may be served."""
        window = now_ms // self.window_ms
        if window != self._window:
            self._window, self.used = window, 0
        self.used += weight
        return None if self.used <= self.allowed else _refusal(429, (window + 1) * self.window_ms, now_ms)

    def pardon(self) -> None:
        """Start anew, as when the clock is set."""
        self._window, self.used = -1, 0

    def __str__(self) -> str:
        return f"{self.allowed}/{self.window_ms / 1000:g}s"


def _refusal(status: int, until_ms: int, now_ms: int) -> Refusal:
    return Refusal(status, max(1, -(-(until_ms - now_ms) // 1000)), until_ms)
