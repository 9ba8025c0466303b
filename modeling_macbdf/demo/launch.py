"""Starts the demo: loopback by default, no analytics, everything that it writes in one folder that goes with it."""

import os
import secrets
import signal
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from threading import Event
from typing import Any

# Before gradio is imported: it reads these on import.
os.environ["GRADIO_ANALYTICS_ENABLED"] = "False"
os.environ.setdefault("HF_HUB_DISABLE_TELEMETRY", "1")

import torch

try:
    import gradio as gr
    from gradio import http_server, processing_utils, route_utils
except ImportError as error:
    from ..media.outcomes import missing_extra

    raise missing_extra("gradio", "demo") from error

from ..evidence.card_facts import read_card
from ..evidence.style import PARTS, VARIABLES
from ..inference import Detector, shipped_model
from .layout import build
from .service import JudgeService

_MEGABYTE = 1_000_000
_MAX_PIXELS = 4096 * 2304  # of a frame
_START_S = 120.0  # how long a busy machine may take to start the server
_FONT, _MONO = ["system-ui", "sans-serif"], ["ui-monospace", "monospace"]  # none is fetched
_FRAME = """
.gradio-container { color-scheme: light } .dark .gradio-container { color-scheme: dark }
.main.fillable.fillable { max-width: 1280px; margin: 0 auto }
@media (max-width: 640px) { .main.fillable.fillable { padding: 16px } }
"""


@dataclass(frozen=True)
class DemoOptions:
    """How the demo runs.

    Attributes:
        model, revision: as in `Detector.from_pretrained`.
        device: as in `Detector`.
        host, port: where it listens. Port 0 takes any free one.
        max_megabytes, max_minutes: larger and longer uploads are refused.
        workers: uploads judged at once.
        max_waiting: uploads in the queue; further ones are told that it is full.
    """

    model: str | None = None
    revision: str | None = None
    device: str = "auto"
    host: str = "127.0.0.1"
    port: int = 7860
    max_megabytes: int = 200
    max_minutes: float = 5.0
    workers: int = 2
    max_waiting: int = 64

    def __post_init__(self) -> None:
        for name in ("max_megabytes", "max_minutes", "workers", "max_waiting"):
            if getattr(self, name) <= 0:
                raise ValueError(f"{name} must be positive, but it is {getattr(self, name)}")


class _OwnUpload(route_utils.GradioUploadFile):
    """An upload in a folder of its own.

    Gradio names the folder by the content alone: two people with the same clip would share one file, and deleting it
    after the first judgement would take it from the second.
    """

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.sha.update(secrets.token_bytes(16))


def _refuse_address(url: str, cache_dir: str) -> str:
    """In place of Gradio's download, which has no limit on the size and one file for all who name an address."""
    del url, cache_dir
    raise gr.Error("An address is not fetched: send the file itself.", print_exception=False)


async def _refuse_address_too(url: str, cache_dir: str) -> str:
    return _refuse_address(url, cache_dir)


class _PatientServer(http_server.Server):
    """A server that a busy machine may take long to start: Gradio waits five seconds, then blames the port."""

    def run_in_thread(self) -> None:
        """Returns once the server listens."""
        try:
            super().run_in_thread()
        except http_server.ServerFailedToStartError:
            end = time.monotonic() + _START_S
            while not self.started and self.thread.is_alive() and time.monotonic() < end:
                time.sleep(0.02)
            if not self.started:
                raise


@contextmanager
def running(options: DemoOptions, detector: Detector | None = None) -> Iterator[str]:
    """Runs the demo in the background and gives its address; its folder is deleted in the end.

    Args:
        options: how it runs.
        detector: in place of the one that the options name.
    """
    uploads: Any = route_utils
    servers: Any = http_server
    downloads: Any = processing_utils
    uploads.GradioUploadFile, servers.Server = _OwnUpload, _PatientServer
    downloads.async_ssrf_protected_download = _refuse_address_too
    downloads.ssrf_protected_download = downloads.save_url_to_cache = _refuse_address
    with tempfile.TemporaryDirectory(prefix="macbdf-demo-", ignore_cleanup_errors=True) as folder:
        os.environ["GRADIO_TEMP_DIR"] = folder
        page = _page(options, detector, Path(folder))
        try:
            yield _launch(page, options)
        finally:
            page.close(verbose=False)
            os.environ.pop("GRADIO_TEMP_DIR", None)


def serve(options: DemoOptions, announce: Callable[[str], None]) -> None:
    """Runs the demo until it is interrupted or asked to end; either way its folder goes with it.

    Args:
        options: how it runs.
        announce: told in words where it listens.
    """
    for name in ("SIGTERM", "SIGHUP"):  # by default they would end it at once and leave the folder
        number = getattr(signal, name, None)  # Windows has no SIGHUP
        if number is not None and signal.getsignal(number) is not signal.SIG_IGN:  # as under nohup
            signal.signal(number, lambda *_: sys.exit(0))
    with running(options) as address:
        announce(f"MACB-DF listens on {address} (Ctrl+C ends it)")
        Event().wait()


def _page(options: DemoOptions, detector: Detector | None, folder: Path) -> gr.Blocks:
    name = options.model or shipped_model()
    if detector is None:
        detector = Detector.from_pretrained(
            name, revision=options.revision, device=options.device, max_duration_s=60.0 * options.max_minutes
        )
        max_bytes = options.max_megabytes * _MEGABYTE
        detector.limits = replace(detector.limits, max_bytes=max_bytes, max_pixels=_MAX_PIXELS)
    torch.set_num_threads(max(1, (os.cpu_count() or 1) // options.workers))
    service = JudgeService(detector, folder, read_card(name, options.revision))
    limits = f"at most {options.max_megabytes} MB and {float(detector.limits.max_duration_s) / 60:g} min"
    return build(service, options.workers, limits)


def _launch(page: gr.Blocks, options: DemoOptions) -> str:
    page.queue(max_size=options.max_waiting, default_concurrency_limit=options.workers)
    try:
        _, address, _ = page.launch(
            server_name=options.host,
            server_port=options.port or None,
            max_file_size=options.max_megabytes * _MEGABYTE,
            theme=gr.themes.Default(font=_FONT, font_mono=_MONO),
            head=f"<style>{VARIABLES}{PARTS}{_FRAME}</style>",
            footer_links=["api", "settings"],
            prevent_thread_lock=True,
            share=False,
            run_history=False,
            enable_monitoring=False,
            ssr_mode=False,
            quiet=True,
            _frontend=False,  # no check that the page comes within three seconds: a busy machine takes longer
        )
    except OSError as error:
        taken = f"port must be free on {options.host}, but {options.port} is not; 0 takes a free one"
        raise OSError(taken if options.port else str(error)) from error
    return str(address)
