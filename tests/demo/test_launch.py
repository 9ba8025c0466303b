"""How the demo starts: on a busy machine, and on a port that another program has."""

import itertools
import os
import signal
import socket
import subprocess
import sys
import time
from types import SimpleNamespace

import pytest

pytest.importorskip("gradio", reason="needs the extra [demo]")
import uvicorn
from gradio import http_server

from modeling_macbdf.demo import launch
from modeling_macbdf.demo.launch import DemoOptions, _page, _PatientServer, running


@pytest.fixture
def taken_port():
    with socket.socket() as holder:
        holder.bind(("127.0.0.1", 0))
        holder.listen()
        yield holder.getsockname()[1]


@pytest.fixture
def hurried(monkeypatch):
    """Gradio's clock runs so fast that its five seconds are over before the server listens."""
    clock = itertools.count(step=10)
    monkeypatch.setattr(http_server, "time", SimpleNamespace(time=lambda: next(clock), sleep=time.sleep))


async def page(scope, receive, send):
    raise AssertionError("nobody asks")


def server(port: int) -> _PatientServer:
    return _PatientServer(uvicorn.Config(page, port=port, lifespan="off", log_level="critical"))


def test_a_slow_start_is_waited_for(hurried):
    slow = server(port=0)
    slow.run_in_thread()
    assert slow.started
    slow.close()


@pytest.mark.filterwarnings("ignore::pytest.PytestUnhandledThreadExceptionWarning")
def test_a_start_that_failed_is_not_waited_for(hurried, taken_port):
    with pytest.raises(http_server.ServerFailedToStartError):
        server(taken_port).run_in_thread()


def test_its_limits_hold_for_whatever_comes_in(tiny_folder, tmp_path, monkeypatch):
    """The limit on megabytes was asked of uploads alone."""
    made = []
    monkeypatch.setattr(launch, "build", lambda service, *_: made.append(service.detector.limits))
    _page(DemoOptions(str(tiny_folder), device="cpu", max_megabytes=3, max_minutes=2), None, tmp_path)
    assert (made[0].max_bytes, made[0].max_duration_s, made[0].max_pixels) == (3_000_000, 120.0, 4096 * 2304)


@pytest.mark.skipif(not hasattr(signal, "SIGHUP"), reason="Windows has none")
@pytest.mark.parametrize("name", ["SIGTERM", "SIGHUP"])
def test_uploads_go_when_it_is_asked_to_end(tiny_folder, tmp_path, name):
    """A terminal that was closed (SIGHUP) left them behind."""
    command = [sys.executable, "-m", "modeling_macbdf", "demo", "--port", "0", "--model", str(tiny_folder)]
    environment = {**os.environ, "TMPDIR": str(tmp_path)}
    number = getattr(signal, name)

    def not_ignored() -> None:  # as SIGHUP is where the tests run under nohup
        signal.signal(number, signal.SIG_DFL)

    with subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, text=True, preexec_fn=not_ignored) as demo:
        try:
            assert "listens on" in demo.stdout.readline()
            assert list(tmp_path.glob("macbdf-demo-*"))
            demo.send_signal(number)
            assert demo.wait(60) == 0
        finally:
            demo.kill()
    assert not list(tmp_path.glob("macbdf-demo-*"))


def test_a_taken_port_is_named(detector, taken_port):
    with (
        pytest.raises(OSError, match=f"port must be free on 127.0.0.1, but {taken_port} is not; 0 takes a free one"),
        running(DemoOptions(port=taken_port), detector),
    ):
        pass
