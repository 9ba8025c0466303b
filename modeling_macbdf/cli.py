"""The command line `macbdf`: parses, calls, prints. Everything that it calls is a library function too."""

import argparse
import errno
import importlib
import os
import sys
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from io import TextIOWrapper
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from .evidence.page import HtmlReport
    from .inference import Detector
    from .isolation import IsolatedJudge
    from .judging import Judge
    from .verdicts import FileResult

EXIT_OK, EXIT_SOME_NOT_SCORED, EXIT_USAGE = 0, 1, 2


def main(argv: Sequence[str] | None = None) -> int:
    """Runs one command; returns the exit code: 0 all scored, 1 some not scored, 2 usage."""
    words = list(sys.argv[1:] if argv is None else argv)
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, TextIOWrapper):  # a file's name need not be text
            stream.reconfigure(errors="backslashreplace")
    try:
        arguments = _parser(words).parse_args(words)
        return int(arguments.run(arguments))
    except ModuleNotFoundError as error:
        print(
            f"macbdf: {error}; README.md tells which extra holds it, such as: pip install -e '.[train]'",
            file=sys.stderr,
        )
        return EXIT_USAGE
    except (ValueError, OSError, ImportError) as error:
        print(f"macbdf: {error}", file=sys.stderr)
        return EXIT_USAGE
    except KeyboardInterrupt:
        print("macbdf: interrupted", file=sys.stderr)
        return 130


def _parser(words: Sequence[str]) -> argparse.ArgumentParser:
    """The parser; only the command that is called imports what its arguments need."""
    parser = argparse.ArgumentParser(
        prog="macbdf",
        description="Judges whether talking-face video or speech is forged, and says when it cannot tell.",
    )
    commands = parser.add_subparsers(required=True, metavar="COMMAND")
    called = next((word for word in words if not word.startswith("-")), None)
    for name, (text, add_arguments) in COMMANDS.items():
        command = commands.add_parser(name, help=text, description=text)
        if name == called:
            add_arguments(command)
    return parser


def _detect_arguments(detect: argparse.ArgumentParser) -> None:
    from .detect_options import add_detect_arguments

    add_detect_arguments(detect)
    detect.set_defaults(run=_detect)


def _without_loading_bars() -> None:
    """Leaves the terminal to our own progress bar."""
    from transformers.utils.logging import disable_progress_bar

    disable_progress_bar()


def _detect(arguments: argparse.Namespace) -> int:
    from . import report
    from .detect_options import check_outputs, detector_options, files_to_judge
    from .isolation import open_judge
    from .judging import Judge
    from .timing import profile_text

    _without_loading_bars()
    paths = files_to_judge(arguments)
    check_outputs(arguments, paths)
    if arguments.jsonl:
        return _detect_into(arguments, paths)
    judge = open_judge(**detector_options(arguments))
    page = _page(judge.detector, arguments) if arguments.html and isinstance(judge, Judge) else None
    results: list[FileResult] = []
    try:
        for path in _progress(paths):
            results.append(page.judge(path) if page else judge.detect(path))
            _say(report.as_text(results[-1]))
            if arguments.profile:
                _say(f"  {profile_text(results[-1].seconds)}")
        if len(results) > 1:
            _say(report.summary_text(results))
    finally:  # what is done is kept, whatever ends the rest
        judge.close()
        if len(results) < len(paths):
            print(f"macbdf: ended after {len(results)} of {len(paths)} files", file=sys.stderr)
        if results:
            _write_reports(arguments, results, judge, page)
    return _exit_code(sum(not result.scored for result in results))


def _exit_code(unscored: int) -> int:
    """What a command ends with that went through; as one of several launched processes with 0.

    A launcher ends all processes where one of them fails, in the middle of their files.
    """
    launched = int(os.environ.get("WORLD_SIZE") or 1) > 1
    return EXIT_SOME_NOT_SCORED if unscored and not launched else EXIT_OK


def _write_reports(
    arguments: argparse.Namespace,
    results: "list[FileResult]",
    judge: "Judge | IsolatedJudge",
    page: "HtmlReport | None",
) -> None:
    from . import report

    if page:
        report.write_atomically(arguments.html, page.render())
    if arguments.json:
        document = report.as_json(results, judge.model_info, judge.run_facts)
        report.write_atomically(arguments.json, report.dump_json(document))
    if arguments.csv:
        report.write_atomically(arguments.csv, report.as_csv(results))


def _say(text: str) -> None:
    """Prints; where nobody reads any more, as behind `| head`, the rest is said to nobody, and judged all the same."""
    try:
        print(text, flush=True)
    except OSError as error:
        if error.errno not in (errno.EPIPE, errno.EINVAL):  # the second one is Windows' word for it
            raise
        nowhere = os.open(os.devnull, os.O_WRONLY)
        os.dup2(nowhere, sys.stdout.fileno())
        os.close(nowhere)


def _detect_into(arguments: argparse.Namespace, paths: list[str]) -> int:
    from .batch import judge_into
    from .detect_options import detector_options
    from .report import on_one_line

    unscored = 0
    for outcome in judge_into(arguments.jsonl, paths, arguments.processes, detector_options(arguments)):
        answer = outcome["reason"] if outcome["p_fake"] is None else f"{outcome['p_fake']:.0%}"
        _say(on_one_line(f"{outcome['path']}: {outcome['verdict'] or outcome['status']} ({answer})"))
        unscored += outcome["p_fake"] is None
    return _exit_code(unscored)


def _page(detector: "Detector", arguments: argparse.Namespace) -> "HtmlReport":
    from .evidence.card_facts import read_card
    from .evidence.page import HtmlReport
    from .inference import shipped_model

    return HtmlReport(detector, read_card(arguments.model or shipped_model(), arguments.revision))


def _progress(paths: list[str]) -> Iterator[str]:
    """The paths, with a progress bar on a terminal when there are many."""
    from tqdm import tqdm

    yield from tqdm(paths, unit="file", disable=len(paths) < 2 or not sys.stderr.isatty())


def _make_clip_arguments(clip: argparse.ArgumentParser) -> None:
    clip.add_argument("out", type=Path, metavar="OUT.mp4")
    clip.add_argument("--seed", type=int, default=0, help="of the person, the voice and the words (default: 0)")
    clip.add_argument("--seconds", type=float, default=6.0, help="default: 6")
    clip.set_defaults(run=_make_clip)


def _make_clip(arguments: argparse.Namespace) -> int:
    from .media.synthetic import make_talking_clip

    arguments.out.parent.mkdir(parents=True, exist_ok=True)
    make_talking_clip(arguments.out, seed=arguments.seed, duration_s=arguments.seconds)
    print(f"made {arguments.out}: a rendered talking face, {arguments.seconds:.1f} s")
    return EXIT_OK


def _preprocess_arguments(preprocess: argparse.ArgumentParser) -> None:
    from .data.commands import add_preprocess_arguments

    add_preprocess_arguments(preprocess)
    preprocess.set_defaults(run=_preprocess)


def _data_arguments(data: argparse.ArgumentParser) -> None:
    from .data.commands import add_inspect_arguments
    from .data.commands_split import add_split_arguments

    what = data.add_subparsers(required=True, metavar="WHAT")
    inspect = what.add_parser("inspect", help="what is in a dataset: counts, problems, contact sheets")
    add_inspect_arguments(inspect)
    inspect.set_defaults(run=_inspect)
    split = what.add_parser("split", help="divide a dataset by person, generator or language, into a file")
    add_split_arguments(split)
    split.set_defaults(run=_split)


def _preprocess(arguments: argparse.Namespace) -> int:
    from .data.commands import as_text, run_preprocess

    print(as_text(run_preprocess(arguments, progress=sys.stderr.isatty())))
    return EXIT_OK


def _inspect(arguments: argparse.Namespace) -> int:
    from .data.commands import as_text, run_inspect

    print(as_text(run_inspect(arguments)))
    return EXIT_OK


def _split(arguments: argparse.Namespace) -> int:
    from .data.commands import as_text
    from .data.commands_split import run_split

    print(as_text(run_split(arguments)))
    return EXIT_OK


def _evaluate_arguments(parser: argparse.ArgumentParser) -> None:
    from .evaluation.commands import add_evaluate_arguments

    add_evaluate_arguments(parser)
    parser.set_defaults(run=_evaluate)


def _evaluate(arguments: argparse.Namespace) -> int:
    from .evaluation.commands import evaluation_text, run_evaluate

    _without_loading_bars()
    result = run_evaluate(arguments)
    if result is None:  # not the first of several processes
        return EXIT_OK
    print(evaluation_text(result))
    return _exit_code(result["coverage"]["clips"] - result["coverage"]["scored"])


def _robustness_arguments(parser: argparse.ArgumentParser) -> None:
    from .evaluation.commands_robustness import add_robustness_arguments

    add_robustness_arguments(parser)
    parser.set_defaults(run=_robustness)


def _robustness(arguments: argparse.Namespace) -> int:
    from .evaluation.commands_robustness import robustness_markdown, run_robustness

    _without_loading_bars()
    result = run_robustness(arguments)
    if result is not None:
        print(robustness_markdown(result))
    return EXIT_OK


def _matrix_text(result: dict[str, Any]) -> str:
    from .training.matrix import matrix_markdown

    return matrix_markdown(result)


def _calibration_text(found: dict[str, Any]) -> str:
    return "\n".join(f"{name}: {value}" for name, value in found.items())


def _of(module: str, name: str, done: Callable[[Any], str]) -> Callable[[argparse.ArgumentParser], None]:
    """A command that stands in another module as `add_NAME_arguments` and `run_NAME`; `done` words its result."""

    def add_arguments(parser: argparse.ArgumentParser) -> None:
        library = importlib.import_module(f".{module}", __package__)
        getattr(library, f"add_{name}_arguments")(parser)

        def run(arguments: argparse.Namespace) -> int:
            _without_loading_bars()
            print(done(getattr(library, f"run_{name}")(arguments)))
            return EXIT_OK

        parser.set_defaults(run=run)

    return add_arguments


def _demo_arguments(parser: argparse.ArgumentParser) -> None:
    from .demo.commands import add_demo_arguments

    add_demo_arguments(parser)
    parser.set_defaults(run=_demo)


def _demo(arguments: argparse.Namespace) -> int:
    from .demo.commands import run_demo

    _without_loading_bars()
    run_demo(arguments, announce=partial(print, flush=True))
    return EXIT_OK


def _experiment_arguments(parser: argparse.ArgumentParser) -> None:
    from .training.experiment_commands import add_experiment_arguments

    add_experiment_arguments(parser)
    parser.set_defaults(run=_experiment)


def _experiment(arguments: argparse.Namespace) -> int:
    from .training.experiment_commands import run_from_arguments

    _without_loading_bars()
    result = run_from_arguments(arguments, lambda text: print(text, flush=True))
    print("\n".join(result["verdicts"]))
    print(f"wrote {result['folder']}: results.md, results.json, plot.png")
    return EXIT_OK


COMMANDS: dict[str, tuple[str, Callable[[argparse.ArgumentParser], None]]] = {
    "detect": ("judge files, folders and globs", _detect_arguments),
    "demo": ("judge clips in the browser, on this machine", _demo_arguments),
    "make-clip": ("render a small talking-face clip (public-domain portrait, made voice)", _make_clip_arguments),
    "preprocess": ("turn a dataset into a cache of face tracks and sound", _preprocess_arguments),
    "data": ("look at a dataset, or divide it", _data_arguments),
    "evaluate": ("score a dataset: metrics, intervals, coverage, shortcut probes", _evaluate_arguments),
    "robustness": ("score a dataset under codecs, blur, noise and the like", _robustness_arguments),
    "experiment": ("ask one of the paper's questions with training runs", _experiment_arguments),
    "matrix": (
        "train on some sets, test on others: one table",
        _of("training.commands_matrix", "matrix", _matrix_text),
    ),
    "calibrate": (
        "fit the probabilities and thresholds of a model",
        _of("evaluation.commands", "calibrate", _calibration_text),
    ),
    "card": ("write a model card from evaluations", _of("evaluation.commands", "card", "wrote {}".format)),
    "dataset-card": ("the card of a training set", _of("data.dataset_card", "dataset_card", "wrote {}".format)),
    "export": (
        "write a model as an ONNX file or a torch.export program",
        _of("export", "export", "wrote {}".format),
    ),
    "push": ("send a model to the Hub, with all that makes it work there", _of("hub.commands", "push", str)),
    "push-space": ("send the demo to the Hub as a Space", _of("hub.commands", "push_space", str)),
}
