"""How the demo starts: on a busy machine, and on a port that another program has."""

import itertools
import socket
import time
from types import SimpleNamespace

import pytest

pytest.importorskip("gradio", reason="needs the extra [demo]")
import uvicorn
from gradio import http_server

from modeling_macbdf.demo.launch import DemoOptions, _PatientServer, running


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


def test_a_taken_port_is_named(detector, taken_port):
    with (
        pytest.raises(OSError, match=f"port must be free on 127.0.0.1, but {taken_port} is not; 0 takes a free one"),
        running(DemoOptions(port=taken_port), detector),
    ):
        pass
