"""The metrics handed to Prometheus: by HTTP while the program stays, in a file of node_exporter's after a run."""

from __future__ import annotations

from threading import Event, Lock, Thread
from typing import TYPE_CHECKING

from fetcher.errors import ConfigError
from fetcher.observe.lines import LOG
from fetcher.observe.metrics import metrics

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from prometheus_client import CollectorRegistry
    from prometheus_client.core import Metric as Family

    from fetcher.sections import Goals
    from fetcher.vitals import Vitals

    Read = Callable[[], Vitals | None]

DATABASE_UP = "fetcher_database_up"
_PATIENCE = 4.0  # seconds on the wall; Prometheus gives a scrape up after ten


class Numbers:
    """What a registry collects: every metric as it is now, or only that the database does not answer."""

    def __init__(self, read: Read, goals: Callable[[], Goals]) -> None:
        self._read = read
        self._goals = goals

    def collect(self) -> Iterator[Family]:
        """The metrics, as Prometheus' library wants them."""
        from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily

        vitals = self._read()
        yield GaugeMetricFamily(DATABASE_UP, "1 where the database answered, else 0.", float(vitals is not None))
        if vitals is None:
            return
        for metric in metrics(self._goals()):
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

    def __init__(self, address: tuple[str, int], read: Read, goals: Callable[[], Goals]) -> None:
        """Listen; raises ConfigError where that is not possible."""
        from prometheus_client import ProcessCollector

        from fetcher.observe.serving import serve  # noqa: PLC0415 (an HTTP server, for who has one)

        host, port = address
        registry = _registry(Numbers(Newest(read), goals))
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


class Textfile:
    """A file that node_exporter reads, written anew each time, the whole of it at once."""

    def __init__(self, path: Path, read: Read, goals: Callable[[], Goals]) -> None:
        self._path = path
        self._registry = _registry(Numbers(read, goals))
        self._is_told = False

    def write(self) -> None:
        """Write the metrics as they are now; a warning where that is not possible, once until it is again."""
        from prometheus_client import write_to_textfile

        try:
            write_to_textfile(str(self._path), self._registry)
        except OSError as error:
            if not self._is_told:
                LOG.warning("metrics.textfile: %s cannot be written: %s", self._path, error.strerror or error)
            self._is_told = True
        else:
            self._is_told = False


def _registry(numbers: Numbers) -> CollectorRegistry:
    from prometheus_client import CollectorRegistry

    registry = CollectorRegistry(support_collectors_without_names=True)
    registry.register(numbers)
    return registry
