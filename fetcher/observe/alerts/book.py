"""AlertBook: what was found wrong is written down and told once, whichever process or machine sees it first.

Deciding what to tell and putting the message on its way is one transaction; sending comes after it, and a message
that did not arrive is tried again. A process that is killed in between loses nothing, and two at once tell once.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from db import alerts
from db.engine import reading, writing
from db.locks import ALERTS, alone
from db.retrying import retried
from fetcher.model import DAY, MINUTE, SECOND
from fetcher.observe.alerts.telling import decide
from fetcher.observe.alerts.words import compose, joined
from fetcher.observe.lines import LOG

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from sqlalchemy import Engine

    from db.alerts import Message
    from fetcher.clock import Clock
    from fetcher.observe.alerts.findings import Finding
    from fetcher.observe.alerts.telling import Decision, Manners
    from fetcher.targets import Target

    Send = Callable[[Mapping[Target, tuple[str, str]]], Mapping[Target, str | None]]

SENDING_SECONDS = 60.0  # on the wall, after which whoever claimed a message and was killed is taken over
FIRST_PAUSE_MS = 50 * SECOND  # a little less than a minute: cron's next run tries again
LONGEST_PAUSE_MS = 15 * MINUTE
KEPT_MS = 3 * DAY  # of messages that cannot be delivered


class AlertBook:
    """The alerts of one database, for the targets that this process may tell."""

    def __init__(self, engine: Engine, clock: Clock, targets: Sequence[Target]) -> None:
        self._engine = engine
        self._clock = clock
        self._targets = targets

    @retried
    def note(self, findings: Sequence[Finding], manners: Manners) -> Decision:
        """Write down what is found, and put what is new of it on its way; costs one look where nothing is wrong."""
        now = self._clock.now_ms()
        with reading(self._engine) as connection:
            decision = decide(alerts.read(connection), findings, now, manners)
        if not decision:
            return decision
        with writing(self._engine) as connection:
            alone(connection, ALERTS)
            decision = decide(alerts.read(connection), findings, now, manners)
            alerts.put(connection, decision.changed)
            alerts.drop(connection, decision.dropped)
            if decision.news:
                title, body = compose(decision.news, manners.host, now)
                alerts.post(connection, [target.id for target in self._targets], title, body, now)
        return decision

    def deliver(self, send: Send) -> None:
        """Send what is due, each target's messages as one; what does not arrive is said in the log and tried again."""
        mine = self._claimed()
        if not mine:
            return
        by_id = {target.id: target for target in self._targets}
        problems = send({by_id[number]: joined(messages) for number, messages in mine.items()})
        for target, problem in problems.items():
            if problem is None:
                LOG.info("alerts were sent to %s: %s", target.name, joined(mine[target.id])[0])
            else:
                LOG.warning("alerts could not be sent to %s: %s; the next run tries again", target.name, problem)
        self._settle({messages: problems.get(by_id[number]) for number, messages in mine.items()})

    @retried
    def _claimed(self) -> dict[str, tuple[Message, ...]]:
        """The due messages that are ours alone for a while, by target."""
        now, ids = self._clock.now_ms(), [target.id for target in self._targets]
        until = now + int(self._clock.stretched(SENDING_SECONDS) * SECOND)
        latest = max(until, now + LONGEST_PAUSE_MS)
        with reading(self._engine) as connection:
            if not alerts.is_due(connection, ids, now, latest):
                return {}
        with writing(self._engine) as connection:
            alerts.prune(connection, now - KEPT_MS)
            claimed = alerts.claim(connection, ids, now, until, latest)
        return {number: mine for number in ids if (mine := tuple(each for each in claimed if each.target == number))}

    @retried
    def _settle(self, outcomes: Mapping[tuple[Message, ...], str | None]) -> None:
        now = self._clock.now_ms()
        with writing(self._engine) as connection:
            for messages, problem in outcomes.items():
                if problem is None:
                    alerts.delivered(connection, messages)
                    continue
                tries = max(each.tries for each in messages)
                pause = min(FIRST_PAUSE_MS * 2 ** min(tries, 10), LONGEST_PAUSE_MS)
                alerts.postpone(connection, messages[0].target, now + pause)
