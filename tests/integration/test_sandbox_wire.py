"""The sandbox as a process on a real socket: headers, what breaks on the wire, remote control, how it ends."""

from __future__ import annotations

import http.client
import json
import os
import signal
import subprocess
import sys
from contextlib import closing
from threading import Event
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

import pytest
import requests

from fetcher.clock import Clock, parse_utc
from fetcher.errors import ConfigError
from fetcher.sandbox.control import SandboxControl, spawn_sandbox

if TYPE_CHECKING:
    from collections.abc import Iterator

NOW = "2026-04-30T04:00:30Z"
HOURS = "/api/v3/klines?symbol=BTCUSDT&interval=1h&startTime=1700000000000&limit=20"


@pytest.fixture(scope="module")
def process() -> Iterator[SandboxControl]:
    """One sandbox whose clock stands still, for all tests of a module."""
    with spawn_sandbox("--clock", NOW, "--hang", "400ms", "--ban-after", "2") as sandbox:
        yield sandbox


@pytest.fixture
def sandbox(process: SandboxControl) -> SandboxControl:
    """The same sandbox as new."""
    process.configure(clock=NOW, faults={}, latency_seconds=0, weight_limit=6000, outages=[])
    process.clear_log()
    return process


def get(sandbox: SandboxControl, path: str = HOURS) -> http.client.HTTPResponse:
    """One GET on a connection of its own, headers as they came."""
    address = urlsplit(sandbox.url)
    with closing(http.client.HTTPConnection(address.hostname or "", address.port, timeout=10)) as connection:
        connection.request("GET", path)
        response = connection.getresponse()
        response.read()
    return response


def test_headers_are_the_exchanges_and_the_date_is_the_sandboxs(sandbox: SandboxControl) -> None:
    """One Date, of the sandbox's clock; the weight so far; JSON."""
    response = get(sandbox)
    headers = [(name.lower(), value) for name, value in response.getheaders()]
    assert [value for name, value in headers if name == "date"] == ["Thu, 30 Apr 2026 04:00:30 GMT"]
    assert ("x-mbx-used-weight-1m", "2") in headers
    assert ("x-mbx-used-weight", "2") in headers
    assert ("content-type", "application/json;charset=UTF-8") in headers
    assert response.version == 11
    assert get(sandbox, "/api/v3/nope").status == 404


def test_a_connection_is_kept_alive(sandbox: SandboxControl) -> None:
    """Two requests, one socket."""
    address = urlsplit(sandbox.url)
    with closing(http.client.HTTPConnection(address.hostname or "", address.port, timeout=10)) as connection:
        connection.request("GET", HOURS)
        first = connection.getresponse().read()
        socket = connection.sock
        connection.request("GET", HOURS)
        assert connection.getresponse().read() == first
        assert connection.sock is socket


def test_a_reset_is_a_reset(sandbox: SandboxControl) -> None:
    """RST, not an orderly close."""
    sandbox.script("reset")
    with pytest.raises(ConnectionResetError):
        get(sandbox)
    assert get(sandbox).status == 200


def test_a_truncated_body_ends_before_its_length(sandbox: SandboxControl) -> None:
    """Content-Length promises twice what comes."""
    sandbox.script("truncate")
    with pytest.raises(http.client.IncompleteRead) as cut:
        get(sandbox)
    assert cut.value.expected is not None
    assert abs(len(cut.value.partial) - cut.value.expected) <= 1


@pytest.mark.parametrize(("fault", "seconds"), [("hang", 0.4), ("latency", 0.5)])
def test_a_slow_answer_is_slow_and_then_right(sandbox: SandboxControl, fault: str, seconds: float) -> None:
    """The client's patience decides."""
    good = get(sandbox)
    sandbox.script(fault)
    clock = Clock()
    assert get(sandbox).status == good.status
    assert clock.elapsed() >= seconds


def test_a_hanging_answer_holds_up_nobody_else(sandbox: SandboxControl) -> None:
    """A client with less patience times out; the next is served."""
    sandbox.script("hang")
    with pytest.raises(requests.ReadTimeout):
        requests.get(sandbox.url + HOURS, timeout=0.1)
    clock = Clock()
    assert get(sandbox).status == 200
    assert clock.elapsed() < 0.3


def test_the_log_tells_every_request_and_its_fault(sandbox: SandboxControl) -> None:
    """With the sandbox's time, the machine's, status, rows and weight; admin requests are not in it."""
    sandbox.script("html", symbol="BTCUSDT")
    get(sandbox)
    get(sandbox, "/api/v3/time")
    get(sandbox)
    sandbox.config()
    log = sandbox.log()
    assert [(e["n"], e["path"], e["status"], e["fault"], e["rows"]) for e in log] == [
        (1, "/api/v3/klines", 200, "html", None),
        (2, "/api/v3/time", 200, None, None),
        (3, "/api/v3/klines", 200, None, 20),
    ]
    assert {entry["at_ms"] for entry in log} == {parse_utc(NOW)}
    assert abs(log[0]["real_ms"] - Clock().now_ms()) < 60_000
    assert log[0]["query"] == HOURS.partition("?")[2]
    assert [entry["weight_used"] for entry in log] == [2, 3, 5]
    assert len(sandbox.log("/api/v3/time")) == 1


def test_too_many_requests_are_refused_and_then_banned(sandbox: SandboxControl) -> None:
    """429 with the seconds to the next minute of the sandbox's clock, then 418; setting the clock ends it."""
    sandbox.configure(weight_limit=2)
    answers = [get(sandbox) for _ in range(4)]
    assert [answer.status for answer in answers] == [200, 429, 429, 418]
    assert [answer.getheader("Retry-After") for answer in answers] == [None, "30", "30", "120"]
    sandbox.configure(clock=NOW)
    assert get(sandbox).status == 200


def test_clock_outages_latency_and_restatements_change_at_run_time(sandbox: SandboxControl) -> None:
    """Each shows in the very next answer."""

    def opens() -> list[list[object]]:
        rows: list[list[object]] = requests.get(sandbox.url + HOURS, timeout=10).json()
        return rows

    before = opens()
    sandbox.restate("BTCUSDT", "1h", 1_700_002_800_000, "12345.5")
    assert opens()[0][4] == "12345.50000000"
    sandbox.configure(outages=["2023-11-15T00:00/2023-11-15T02:00"])
    assert opens()[1:3] != before[1:3]
    sandbox.configure(clock="2023-11-14T23:30Z")
    assert len(opens()) == 1
    sandbox.configure(clock="2024-01-01 x1000")
    first = sandbox.config()["now_ms"]
    assert Event().wait(0.01) is False
    assert sandbox.config()["now_ms"] > first + 9
    sandbox.configure(latency_seconds=0.2)
    clock = Clock()
    opens()
    assert clock.elapsed() >= 0.2


@pytest.mark.parametrize(
    ("settings", "says"),
    [({"clock": "never"}, "clock is 'never'"), ({"nope": 1}, "no setting 'nope'"), ({"faults": {"x": 1}}, "'x'")],
)
def test_the_remote_control_passes_on_what_the_sandbox_refuses(
    sandbox: SandboxControl, settings: dict[str, object], says: str
) -> None:
    """In the sandbox's own sentence."""
    with pytest.raises(ConfigError, match=says):
        sandbox.configure(**settings)


def test_admin_requests_that_make_no_sense_are_refused(sandbox: SandboxControl) -> None:
    """400 and an error, never a traceback."""
    for path, told in (("script", {"what": 1}), ("restate", {"symbol": "X"}), ("nowhere", {}), ("config", [])):
        answer = requests.post(f"{sandbox.url}/sandbox/{path}", data=json.dumps(told), timeout=10)
        assert (path, answer.status_code) == (path, 400)
        assert answer.json()["error"]
    assert requests.post(f"{sandbox.url}/sandbox/config", data="{", timeout=10).status_code == 400
    assert requests.post(sandbox.url + HOURS, timeout=10).status_code == 405


def test_a_taken_port_is_one_sentence_and_exit_code_2(sandbox: SandboxControl) -> None:
    """Not a traceback."""
    port = str(urlsplit(sandbox.url).port)
    command = [sys.executable, "-m", "fetcher.sandbox", "--port", port]
    ended = subprocess.run(command, capture_output=True, text=True, check=False, timeout=30)
    assert ended.returncode == 2
    assert ended.stderr.strip().splitlines() == [
        f"the sandbox cannot listen on 127.0.0.1:{port} (Address already in use); choose another --port"
    ]
    with pytest.raises(ConfigError, match=r"did not start: .*choose another --port"), spawn_sandbox("--port", port):
        pass


def test_a_sandbox_ends_with_whoever_started_it() -> None:
    """Killed outright, the parent can close nothing itself."""
    script = (
        "from fetcher.sandbox.control import spawn_sandbox\n"
        "with spawn_sandbox() as sandbox:\n    print(sandbox.pid, sandbox.url, flush=True)\n    input()\n"
    )
    parent = subprocess.Popen([sys.executable, "-c", script], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    assert parent.stdin
    assert parent.stdout
    url = parent.stdout.readline().split()[1]
    assert requests.get(url + "/api/v3/ping", timeout=10).json() == {}
    os.kill(parent.pid, signal.SIGKILL)
    parent.communicate(timeout=10)
    clock, stop = Clock(), Event()
    while clock.elapsed() < 10:
        try:
            requests.get(url + "/api/v3/ping", timeout=1)
        except requests.ConnectionError:
            return
        clock.wait(stop, 0.02)
    pytest.fail("the sandbox outlived its parent")


def test_sigterm_ends_a_sandbox_orderly() -> None:
    """Exit code 0, also with an answer still hanging."""
    command = [sys.executable, "-m", "fetcher.sandbox", "--port", "0", "--latency", "60s"]
    child = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    assert child.stdout
    url = child.stdout.readline().split()[-1]
    with pytest.raises(requests.ReadTimeout):
        requests.get(url + "/api/v3/ping", timeout=0.2)
    child.terminate()
    child.communicate(timeout=10)
    assert child.returncode == 0
