"""The metrics handed to Prometheus: by HTTP while the program stays, in a file of node_exporter's after a run."""

from __future__ import annotations

from threading import Event, Lock, Thread
from typing import TYPE_CHECKING

from fetcher.errors import ConfigError
from fetcher.observe.logs import LOG
from fetcher.observe.metrics import metrics

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from prometheus_client import CollectorRegistry
    from prometheus_client.core import Metric as Family

    from fetcher.clock import Clock
    from fetcher.sections import Goals
    from fetcher.vitals import Vitals

    Read = Callable[[], Vitals | None]

DATABASE_UP, UPTIME = "fetcher_database_up", "fetcher_uptime_seconds"
_PATIENCE = 4.0  # seconds on the wall; Prometheus gives a scrape up after ten


class Numbers:
    """What a registry collects: every metric as it is now, or only that the database does not answer.

    `uptime` tells for how many seconds the program has been up, where it stays.
    """

    def __init__(self, read: Read, goals: Goals, uptime: Callable[[], float] | None = None) -> None:
        self._read = read
        self._metrics = metrics(goals)
        self._uptime = uptime

    def collect(self) -> Iterator[Family]:
        """The metrics, as Prometheus' library wants them."""
        from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily

        if self._uptime is not None:
            yield GaugeMetricFamily(UPTIME, "For how long the program has been up.", self._uptime())
        vitals = self._read()
        yield GaugeMetricFamily(DATABASE_UP, "1 where the database answered, else 0.", float(vitals is not None))
        if vitals is None:
            return
        for metric in self._metrics:
            kind = CounterMetricFamily if metric.is_counter else GaugeMetricFamily
            family = kind(metric.name, metric.help, labels=metric.labels)
            for labels, value in metric.samples(vitals):
                family.add_metric(labels, value)
            yield family


class Newest:
    """Vitals read by a thread of its own, one at a time: who asks waits a few seconds at most, whatever hangs."""

    def __init__(self, read: Read) -> None:
        self._read = read
        self._lock = Lock()
        self._asked: _Asked | None = None

    def __call__(self) -> Vitals | None:
        """The vitals as they are now; None where the database does not answer, or not in time."""
        with self._lock:
            if self._asked is None or self._asked.over.is_set():
                self._asked = _Asked()
                Thread(target=self._answer, args=(self._asked,), name="vitals", daemon=True).start()
            mine = self._asked
        return mine.vitals if mine.over.wait(_PATIENCE) else None

    def _answer(self, asked: _Asked) -> None:
        try:
            asked.vitals = self._read()
        except Exception:  # noqa: BLE001 (the edge: whatever it is, the scrape says that there are no numbers)
            LOG.debug("the numbers for metrics cannot be read", exc_info=True)
        finally:
            asked.over.set()


class _Asked:
    """One reading, under way until `over`."""

    def __init__(self) -> None:
        self.over = Event()
        self.vitals: Vitals | None = None


class Endpoint:
    """Answers scrapes at an address until it is closed, in threads of its own."""

    def __init__(self, address: tuple[str, int], read: Read, goals: Goals, clock: Clock) -> None:
        """Listen; raises ConfigError where that is not possible."""
        from prometheus_client import ProcessCollector

        from fetcher.observe.serving import serve  # noqa: PLC0415 (an HTTP server, for who has one)

        host, port = address
        registry = _registry(Numbers(Newest(read), goals, clock.elapsed))
        ProcessCollector(registry=registry)
        try:
            self._server = serve(host, port, registry)
        except (OSError, OverflowError) as error:
            reason = getattr(error, "strerror", None) or str(error)
            raise ConfigError(f"metrics.listen: {host}:{port} cannot be listened on: {reason}") from None
        self.url = f"http://{f'[{host}]' if ':' in host else host}:{self._server.server_port}/metrics"
        Thread(target=self._server.serve_forever, name="metrics", daemon=True).start()

    def close(self) -> None:
        """Stop answering."""
        self._server.shutdown()
        self._server.server_close()


def write_textfile(path: Path, read: Read, goals: Goals) -> bool:
    """Write the metrics for node_exporter, the whole file at once; False, and a warning, where that is not possible."""
    from prometheus_client import write_to_textfile

    try:
        write_to_textfile(str(path), _registry(Numbers(read, goals)))
    except OSError as error:
        LOG.warning("metrics.textfile: %s cannot be written: %s", path, error.strerror or error)
        return False
    return True


def _registry(numbers: Numbers) -> CollectorRegistry:
    from prometheus_client import CollectorRegistry

    registry = CollectorRegistry(support_collectors_without_names=True)
    registry.register(numbers)
    return registry
