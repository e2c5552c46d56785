"""Sending by apprise, in bounded time: a service that hangs holds nothing up, one that refuses is a sentence."""

from __future__ import annotations

import logging
import warnings
from threading import Thread
from threading import enumerate as running_threads
from typing import TYPE_CHECKING, Any

from fetcher.observe.lines import one_line
from fetcher.targets import secret_parts
from fetcher.wire import excerpt

if TYPE_CHECKING:
    from collections.abc import Mapping
    from threading import Event

    from fetcher.clock import Clock
    from fetcher.targets import Target

LIMIT_SECONDS = 10.0  # on the wall, for all targets together
LEAVING_SECONDS = 0.5  # the same once the program was asked to leave
_LOOK_SECONDS = 0.05
_LONGEST_PROBLEM = 200
UNREADABLE = "apprise cannot read its address; see its documentation"


def send_all(messages: Mapping[Target, tuple[str, str]], clock: Clock, stop: Event) -> dict[Target, str | None]:
    """Send each target its title and body, side by side; what kept a message from arriving, None where it arrived.

    One that still hangs with an earlier message gets no other: a daemon would have more and more of them.
    """
    outcomes: dict[Target, str | None] = {}
    hanging = {thread.name for thread in running_threads()}

    def send(target: Target, service: Any, title: str, body: str) -> None:  # noqa: ANN401 (apprise has no types of it)
        outcomes[target] = _sent(target, service, title, body)

    threads = []
    for target, (title, body) in messages.items():
        service, name = _service(target), f"alerts {target.id}"
        if service is None:
            outcomes[target] = UNREADABLE
            continue
        if name in hanging:
            outcomes[target] = "it has not answered to an earlier message yet"
            continue
        # A thread that may be left behind: an executor's would be waited for.
        threads.append(Thread(target=send, args=(target, service, title, body), name=name, daemon=True))
        threads[-1].start()
    began = clock.elapsed()
    for thread in threads:
        while thread.is_alive():
            left = (LEAVING_SECONDS if stop.is_set() else LIMIT_SECONDS) - clock.real_seconds(clock.elapsed() - began)
            if left <= 0:
                break
            thread.join(min(left, _LOOK_SECONDS))
    waited = "before the program was to leave" if stop.is_set() else f"within {LIMIT_SECONDS:.0f} s"
    late = f"it did not answer {waited}"
    return {target: outcomes.get(target, late) for target in messages}


def is_readable(target: Target) -> bool:
    """Whether a message for it could be sent anywhere."""
    return _service(target) is not None


def _service(target: Target) -> Any:  # noqa: ANN401 (the same)
    """The target as apprise has it; None where it cannot be read."""
    from apprise import Apprise, AppriseAsset

    # What apprise logs by itself may hold addresses: nothing of it reaches a handler of ours or stderr.
    library = logging.getLogger("apprise")
    library.propagate = False
    library.setLevel(logging.WARNING)
    if not library.handlers:
        library.addHandler(logging.NullHandler())
    # No limit of its own: ours is enough, and for its own it would send in an executor's threads.
    asset = AppriseAsset(
        app_id="candle-fetcher", app_desc="candle-fetcher", async_mode=False, secure_logging=True, service_timeout=0
    )
    with warnings.catch_warnings():  # it loads all its services, some of which import what Python will drop
        warnings.simplefilter("ignore")
        service = Apprise.instantiate(target.url, asset=asset)
    if service is None:
        return None
    told = Apprise(asset=asset)
    told.add(service)
    return told


def _sent(target: Target, service: Any, title: str, body: str) -> str | None:  # noqa: ANN401 (the same)
    """Send one message; what went wrong, in one line without secrets."""
    from apprise import NotifyFormat

    try:
        result = service.notify(body=body, title=title, body_format=NotifyFormat.TEXT)
        if result:
            return None
        said = [entry.message for entry in result.logs()]
    except Exception as error:  # noqa: BLE001 (the edge: a hundred services, none of which may end a run)
        said = [f"{type(error).__name__}: {error}"]
    hidden = sorted(secret_parts(target.url), key=len, reverse=True)
    return excerpt(one_line(said[-1] if said else "it was refused without a word", hidden), _LONGEST_PROBLEM)
