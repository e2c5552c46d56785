"""What of the vitals is worth telling somebody: one function a kind, each from vitals to findings. Pure."""

from __future__ import annotations

import re
from collections import defaultdict
from typing import TYPE_CHECKING

from msgspec import Struct

from fetcher.clients.coingecko_errors import KEY_ADVICE
from fetcher.clients.statuses import CHECK_KEY
from fetcher.endpoints import FAILING, RESTING
from fetcher.model import HOUR, SECOND, Window
from fetcher.observe.alerts.findings import Finding
from fetcher.observe.alerts.words import minute, strangers
from fetcher.observe.progress import duration
from fetcher.vitals import not_at_work
from fetcher.wording import counted

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence

    from db.state import RunRow
    from fetcher.endpoints import EndpointState
    from fetcher.observe.alerts.disks import Disk
    from fetcher.sections import Alerts
    from fetcher.standing import Standing
    from fetcher.vitals import Vitals

_BANNED = re.compile(r"\banswered 418\b")  # not a number among a stranger's words
_ABOUT_KEYS = (CHECK_KEY, *KEY_ADVICE.values())  # how sentences about a refused key end
_FEW_ERRORS = 3  # in an hour, which a source that is hardly asked may make


class Machine(Struct, frozen=True):
    """What only this machine knows: its name, its disks, and a sentence for each key that is not there, by source."""

    host: str
    disks: tuple[Disk, ...] = ()
    missing_keys: tuple[str, ...] = ()


def judge(vitals: Vitals, settings: Alerts, machine: Machine) -> list[Finding]:
    """Everything that is wrong at `vitals.now_ms`."""
    found = [finding for kind in KINDS.values() for finding in kind(vitals, settings)]
    return [*found, *_keys_missing(machine), *_disks(machine, settings)]


def stale(vitals: Vitals, settings: Alerts) -> Iterator[Finding]:
    """Series whose next candle could have been there for a while, and that no run has fetched anything of."""
    for place in vitals.series:
        limit = max(settings.stale_intervals * place.series.timeframe.ms, _ms(settings.stale_at_least))
        if place.unfetched:
            words = f"{place.series}: nothing was fetched yet{_because(place, vitals)}"
            yield Finding(f"stale {place.series}", "stale", words, after_ms=limit)
        elif place.overdue_ms > limit:
            newest = "none" if place.newest_ms is None else minute(place.newest_ms)
            words = f"{place.series} is {duration(place.overdue_ms / 1000)} behind (newest close: {newest})"
            yield Finding(f"stale {place.series}", "stale", words + _because(place, vitals))


def gaps(vitals: Vitals, settings: Alerts) -> Iterator[Finding]:
    """Candles that were given up, and gaps behind the newest candle that do not get smaller."""
    for place in vitals.series:
        if place.jobs_failed:
            lost = counted(place.failed, "candle") if place.failed else counted(place.jobs_failed, "job")
            words = f"{place.series}: {lost} given up: {strangers(place.last_error)}; see `jobs`, then `jobs retry`"
            yield Finding(f"given up {place.series}", "gaps", words, max(1, place.failed))
        behind = _behind(place)
        if behind:
            words = (
                f"{place.series} lacks {counted(behind, 'candle')}, and not fewer than before{_because(place, vitals)}"
            )
            yield Finding(
                f"gaps {place.series}", "gaps", words, behind, after_ms=_ms(settings.gaps_after), stuck=True
            )  # fmt: skip


def sources(vitals: Vitals, settings: Alerts) -> Iterator[Finding]:
    """Sources that have banned us, rest for long, or have failed for a while, by every way in."""
    wanted = {name for place in vitals.series for name in place.series.sources}
    for name, states in _by_source(vitals).items():
        away = [each for each in states if _is_away(each, vitals.now_ms)]
        if name not in wanted or len(away) < len(states):
            continue
        banned = next((each for each in away if each.state == RESTING and _BANNED.search(each.why or "")), None)
        worst = banned or away[0]
        until = "" if worst.until_ms is None else f" until {minute(worst.until_ms)}"
        after = _ms(settings.source_after)
        if banned is not None:
            words = f"{name} has banned this address{until}: {strangers(banned.why)}; ask less often, or set proxy"
        elif worst.state == RESTING:
            words = f"{name} rests{until}: {strangers(worst.why)}"
        else:
            words = f"{name} does not serve: {strangers(worst.why or worst.last_error)}"
        soonest = min((each.until_ms or 0 for each in away), default=0)
        known_to_last = banned is not None or soonest - vitals.now_ms >= after
        yield Finding(
            f"source {name}", "source", words, after_ms=0 if known_to_last else after, urgent=banned is not None
        )  # fmt: skip


def keys(vitals: Vitals, settings: Alerts) -> Iterator[Finding]:
    """Keys and passwords that a source refuses."""
    del settings
    for each in vitals.endpoints:
        refused = each.last_error_ms is not None and each.last_error_ms > (each.last_ok_ms or 0)
        if refused and (each.last_error or "").endswith(_ABOUT_KEYS):
            words = f"{each.source} refuses the key or password: {strangers(each.last_error)}"
            yield Finding(f"key {each.endpoint}"[:300], "key", words)


def quarantined(vitals: Vitals, settings: Alerts) -> Iterator[Finding]:
    """Many refused rows within an hour."""
    new = {reason: held.new for reason, held in vitals.quarantine.items() if held.new}
    total = sum(new.values())
    if total >= settings.quarantine_rows:
        why = ", ".join(f"{reason} {rows:,}" for reason, rows in sorted(new.items(), key=lambda each: -each[1])[:3])
        words = f"{counted(total, 'row')} refused within an hour ({strangers(why)}); see `quarantine`"
        yield Finding("quarantine", "quarantine", words, total)


def runs(vitals: Vitals, settings: Alerts) -> Iterator[Finding]:
    """Runs that ended one after the other without getting through, or were killed."""
    broken = broken_in_row(vitals.runs)
    if broken >= settings.runs_failed:
        latest = "run" if broken == 1 else f"{broken} runs"
        words = f"the last {latest} broke off or got killed; the log tells why"
        yield Finding("runs", "runs", words, urgent=True)


KINDS: Mapping[str, Callable[[Vitals, Alerts], Iterator[Finding]]] = {
    "stale": stale, "gaps": gaps, "source": sources, "key": keys, "quarantine": quarantined, "runs": runs,
}  # fmt: skip
"""Each kind that the database tells of; `key` and `disk` are also found on the machine itself."""


def _keys_missing(machine: Machine) -> Iterator[Finding]:
    for sentence in machine.missing_keys:
        key = f"key {machine.host} {sentence}"[:300]
        yield Finding(key, "key", f"on {machine.host}: {sentence}", host=machine.host)


def _disks(machine: Machine, settings: Alerts) -> Iterator[Finding]:
    for disk in machine.disks:
        if disk.free < settings.disk_free:
            words = f"the disk of the {disk.what} on {machine.host} is nearly full: {disk.free / 1e6:,.0f} MB are free"
            key = f"disk {machine.host} {disk.what}"[:300]
            yield Finding(key, "disk", words, urgent=True, host=machine.host)


def _behind(place: Standing) -> int:
    """Missing slots before the newest candle: what follows it is told as stale."""
    if not place.missing or place.newest_ms is None or place.until_ms is None:
        return 0
    tail = place.series.grid.count(Window(place.newest_ms, max(place.newest_ms, place.until_ms)))
    return max(0, place.missing - tail)


def _because(place: Standing, vitals: Vitals) -> str:
    """Why, as far as a job or the preferred source tells."""
    preferred = place.series.sources[0]
    states = _by_source(vitals).get(preferred, [])
    if place.last_error is None and states and all(_is_away(each, vitals.now_ms) for each in states):
        return f": {preferred} is {states[0].state}"
    return "" if place.last_error is None else f": {strangers(place.last_error)}"


def _by_source(vitals: Vitals) -> dict[str, list[EndpointState]]:
    found: defaultdict[str, list[EndpointState]] = defaultdict(list)
    for each in vitals.endpoints:
        if not each.is_archive:
            found[each.source].append(each)
    return found


def _is_away(state: EndpointState, now_ms: int) -> bool:
    """Whether it rests, or has failed of late again and again."""
    if state.state == RESTING:
        return True
    recent = state.last_error_ms is not None and now_ms - state.last_error_ms < HOUR
    hopeless = state.hour is not None and state.hour.success == 0 and state.hour.errors >= _FEW_ERRORS
    return state.state == FAILING and recent and (state.breaker != "closed" or hopeless)


def broken_in_row(latest: Sequence[RunRow]) -> int:
    """How many of the latest bare runs and daemon's steps, newest first, did not get through or have no end."""
    over = not_at_work(latest)
    through = (number for number, run in enumerate(over) if (run.summary or {}).get("missing") is not None)
    return next(through, len(over))


def _ms(seconds: float) -> int:
    return int(seconds * SECOND)
