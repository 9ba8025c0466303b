"""The demo's page: what is where, and which part of the service answers which button."""

from collections.abc import Callable, Iterator
from html import escape
from typing import Any

import gradio as gr

from ..evidence import fragments
from ..evidence.page import about
from ..verdicts import FileResult
from .examples import NAMES, example
from .seeking import SEEK
from .service import Judged, JudgeService

KINDS = ["video", "audio", ".mkv", ".mxf", ".ts", ".flac"]
MAX_FILES = 50  # of one batch
HEADERS = {  # of the table of many files, with the widths of the columns
    "file": "160px",
    "verdict": "130px",
    "p(fake)": "85px",
    "picture": "85px",
    "voice": "75px",
    "status": "115px",
    "reason": "225px",
}
WAITING = '<section class="m-card"><h2>No file yet</h2><p>Choose a clip, or one of the examples.</p></section>'
NOTHING = '<p class="m-small">Nothing was judged in this file.</p>'
EMPTY = '<p class="m-small">Shown when a clip was judged.</p>'


def build(service: JudgeService, workers: int, limits: str) -> gr.Blocks:
    """The whole page.

    Args:
        service: what judges.
        workers: uploads judged at once; the others wait in a queue.
        limits: what may be uploaded, in words.
    """
    shared: dict[str, Any] = {"concurrency_limit": workers, "concurrency_id": "judge"}
    with gr.Blocks(title="MACB-DF", analytics_enabled=False, delete_cache=(60, 3600), fill_width=True) as page:
        gr.Markdown("# MACB-DF\nIs this talking-face video forged? An answer with its evidence, or *cannot tell*.")
        with gr.Tab("One file"):
            _one_file(service, shared, limits)
        with gr.Tab("Many files"):
            _many_files(service, shared, limits)
        with gr.Tab("About"):
            gr.HTML(about(service.detector, service.card), padding=True)
        _api(service, shared)
    return page


def _one_file(service: JudgeService, shared: dict[str, Any], limits: str) -> None:
    with gr.Row():
        with gr.Column(min_width=320):
            with gr.Tab("File"):
                upload = gr.File(
                    label=f"Video or sound file ({limits})", file_types=KINDS, height=150, elem_id="m-file"
                )
            with gr.Tab("Webcam"):
                webcam = _webcam()
            start = gr.Button("Judge", variant="primary", elem_id="m-judge")
            gr.Markdown("Or try a clip that this page renders itself (the first time takes some seconds):")
            with gr.Row():
                buttons = {name: gr.Button(words, size="sm", min_width=140) for name, words in NAMES.items()}
            gr.Markdown(
                "Uploads are deleted as soon as they are judged; what is shown here is deleted within the hour."
            )
        with gr.Column(min_width=320):
            shown = _answer_parts()
    shown.update(_evidence_parts())
    downloads = [shown["page"], shown["json"]]
    outputs = [*(shown[name] for name in ("verdict", "streams", "preview", "timeline")), *downloads]
    outputs += [*(shown[name] for name in ("faces", "sound", "left_out")), upload, webcam]
    options: dict[str, Any] = {"outputs": outputs, "show_progress_on": shown["verdict"], **shared}
    start.click(_judge(service), [upload, webcam], api_visibility="private", **options)
    for name, button in buttons.items():
        made = button.click(_make(service, name), None, upload, api_visibility="private")
        made.then(_judge(service), [upload, webcam], api_visibility="private", **options)


def _webcam() -> gr.Video:
    """Picture and sound as they were recorded: to mirror or mute them, Gradio would encode them anew with ffmpeg."""
    as_recorded = gr.WebcamOptions(mirror=False)
    return gr.Video(
        label="Record yourself",
        sources=["webcam"],
        webcam_options=as_recorded,
        include_audio=True,
        height=240,
        elem_id="m-webcam",
    )


def _answer_parts() -> dict[str, Any]:
    """The answer. Everything has its place and its height from the start, so that nothing jumps."""
    parts: dict[str, Any] = {
        "verdict": gr.HTML(WAITING, min_height=230, elem_id="m-verdict"),
        "streams": gr.HTML(EMPTY, min_height=120),
    }
    with gr.Row():
        parts["page"] = gr.DownloadButton("Report (HTML)", interactive=False, min_width=140)
        parts["json"] = gr.DownloadButton("Report (JSON)", interactive=False, min_width=140)
    return parts


def _evidence_parts() -> dict[str, Any]:
    """What the answer rests on: video and timeline, and beside them where suspicion was raised."""
    parts: dict[str, Any] = {}
    with gr.Row():
        with gr.Column(min_width=320):
            parts["preview"] = gr.Video(
                label="The clip and its faces", interactive=False, height=320, elem_id="m-preview"
            )
            parts["timeline"] = gr.HTML(EMPTY, min_height=190, js_on_load=SEEK, elem_id="m-timeline")
        with gr.Column(min_width=320):
            with gr.Accordion("Where the picture raised suspicion", open=True):
                parts["faces"] = gr.HTML(EMPTY, elem_id="m-faces")
            with gr.Accordion("Where the sound raised suspicion", open=True):
                parts["sound"] = gr.HTML(EMPTY)
            with gr.Accordion("What was not judged, and why", open=True):
                parts["left_out"] = gr.HTML(EMPTY)
    return parts


def _make(service: JudgeService, name: str) -> Callable[[], str]:
    return lambda: example(name, service.folder)


def _judge(service: JudgeService) -> Callable[..., tuple[Any, ...]]:
    def judge_and_show(
        upload: str | None,
        webcam: str | None,
        progress: gr.Progress = gr.Progress(),  # noqa: B008  Gradio finds it by this default
    ) -> tuple[Any, ...]:
        if upload and webcam:
            raise gr.Error("There are a file and a recording: remove one of them first.", print_exception=False)
        chosen = upload or webcam
        if not chosen:
            words = "Choose a file or record yourself first. What was judged before is deleted."
            raise gr.Error(words, print_exception=False)
        return _shown(service, service.judge(chosen, lambda share, words: progress(share, desc=words)))

    return judge_and_show


def _shown(service: JudgeService, judged: Judged) -> tuple[Any, ...]:
    """Values for the outputs of `_one_file`, in their order; the inputs are emptied, since their file is gone."""
    result, evidence, calibration = judged.result, judged.evidence, service.detector.calibration
    files = [gr.DownloadButton(value=path, interactive=True) for path in (judged.page, judged.json)]
    head = f'<p class="m-small">{escape(result.path)}</p>{fragments.verdict_card(result, calibration)}'
    if not result.scored:
        return (head, NOTHING, judged.preview, NOTHING, *files, NOTHING, NOTHING, NOTHING, None, None)
    return (
        head + f'<p class="m-small">{fragments.provenance(result)}</p>',
        fragments.streams(result),
        judged.preview,
        fragments.timeline(result, evidence, calibration),
        *files,
        fragments.faces(result, evidence),
        fragments.sound(evidence),
        fragments.left_out(evidence),
        None,
        None,
    )


def _many_files(service: JudgeService, shared: dict[str, Any], limits: str) -> None:
    uploads = gr.File(
        label=f"Up to {MAX_FILES} files ({limits})",
        file_count="multiple",
        file_types=KINDS,
        height=200,
        elem_id="m-files",
    )
    start = gr.Button("Judge all", variant="primary")
    table = gr.Dataframe(
        headers=list(HEADERS),
        column_widths=list(HEADERS.values()),
        datatype="str",
        interactive=False,
        wrap=True,
        label="Verdicts",
        elem_id="m-table",
    )
    download = gr.DownloadButton("Table as CSV", interactive=False, elem_id="m-csv")

    def judge_all(paths: list[str] | None) -> Iterator[tuple[Any, ...]]:
        if not paths or len(paths) > MAX_FILES:
            raise gr.Error(f"Choose 1 to {MAX_FILES} files, not {len(paths or [])}.", print_exception=False)
        results: list[FileResult] = []
        for result in service.judge_many(paths):
            results.append(result)
            yield [_table_row(row) for row in results], gr.DownloadButton(interactive=False), gr.skip()
        csv = gr.DownloadButton(value=service.write_csv(results), interactive=True)
        yield [_table_row(row) for row in results], csv, None

    start.click(judge_all, uploads, [table, download, uploads], api_visibility="private", **shared)


def _table_row(result: FileResult) -> list[str]:
    numbers = [result.p_fake, result.p_fake_video, result.p_fake_audio]
    words = ["" if p is None else f"{p:.0%}" for p in numbers]
    why = "; ".join(filter(None, (result.reason, *result.warnings)))
    return [result.path, str(result.verdict or "not judged"), *words, str(result.status), why]


def _api(service: JudgeService, shared: dict[str, Any]) -> None:
    """The endpoint /judge: a file in, the JSON report out, as text. It has no place on the page.

    As text, because Gradio's client takes any object with a "path" for a file of the server and asks for it.
    """
    file, answer = gr.File(visible=False, label="file"), gr.Textbox(visible=False, label="report")

    def judge(file: str | None) -> str:
        if not file:
            raise gr.Error("file must be an uploaded file, but there is none.", print_exception=False)
        return service.judge_json(file)

    words = "Judges a video or sound file and deletes it. Returns the JSON report of docs/verdicts.md as text."
    gr.Button(visible=False).click(judge, file, answer, api_name="judge", api_description=words, **shared)
