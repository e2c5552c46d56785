"""The gate of a test that someone asked for: it lets one request through although runs leave the endpoint alone."""

from __future__ import annotations

from fetcher.clock import format_utc
from fetcher.errors import RateLimited, SourceDown
from fetcher.resilience.gate import Gate


class LiveGate(Gate):
    """Admits what our own caution keeps back (breaker, a refusing host); outcomes are reported as ever.

    A rest that the exchange asked of the whole address (429, 418) is obeyed here too: asking meanwhile makes it longer.
    """

    rests: str | None = None  # why and until when runs leave this endpoint alone, in words

    def refusal(self, *, vital: bool = True) -> RateLimited | SourceDown | None:
        """Only what the exchange forbids every request from here."""
        refused = super().refusal(vital=vital)
        return refused if isinstance(refused, RateLimited) and refused.whole_pool else None

    def admit(self) -> bool:
        """Let the request through; RateLimited while the exchange forbids every request from here."""
        try:
            return super().admit()
        except RateLimited as refusal:
            if refusal.whole_pool:
                raise
            self.rests = f"runs leave it alone until {format_utc(refusal.until_ms)}"
        except SourceDown as refusal:
            until = "" if refusal.retry_at_ms is None else f" until {format_utc(refusal.retry_at_ms)}"
            self.rests = f"runs leave it alone{until}, because it failed"
        return False
