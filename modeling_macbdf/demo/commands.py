"""What `macbdf demo` takes and does."""

import argparse
from collections.abc import Callable


def add_demo_arguments(demo: argparse.ArgumentParser) -> None:
    """The options of the command: the fields of `DemoOptions`."""
    demo.add_argument("--model", metavar="DIR_OR_REPO", help="default: the weights that the project ships")
    demo.add_argument("--revision", help="of a Hub repository: branch, tag or commit")
    demo.add_argument("--device", default="auto", help="auto, cpu, cuda, cuda:1, mps (default: auto)")
    demo.add_argument("--host", default="127.0.0.1", help="0.0.0.0 opens it to the network (default: 127.0.0.1)")
    demo.add_argument("--port", type=int, default=7860, help="0 takes a free one (default: 7860)")
    demo.add_argument("--max-megabytes", type=int, default=200, help="larger uploads are refused (default: 200)")
    demo.add_argument("--max-minutes", type=float, default=5.0, help="longer clips are refused (default: 5)")
    demo.add_argument("--workers", type=int, default=2, metavar="N", help="uploads judged at once (default: 2)")


def run_demo(arguments: argparse.Namespace, announce: Callable[[str], None]) -> None:
    """Runs the demo until it is interrupted; `announce` is told where it listens."""
    from .launch import DemoOptions, serve

    serve(DemoOptions(**{name: value for name, value in vars(arguments).items() if name != "run"}), announce)
