"""What the demo does with an upload: judge it, write what is shown, delete it. Knows files and no web framework."""

import os
import tempfile
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from .. import report
from ..evidence.collect import Evidence, judge_with_evidence
from ..evidence.page import HtmlReport
from ..evidence.pictures import PREVIEW_SIDE, Framer, write_preview, write_sound_preview
from ..inference import Detector
from ..media.audio import read_audio
from ..media.outcomes import MediaError, Status
from ..provenance import read_provenance
from ..verdicts import FileResult

Progress = Callable[[float, str], None]


@dataclass(frozen=True)
class Judged:
    """One judged upload and the files that were made of it; `preview` is None where there is nothing to watch."""

    result: FileResult
    evidence: Evidence
    preview: str | None
    page: str
    json: str


class JudgeService:
    """Judges uploads. Several threads may call it at once: they share the model, and nothing that changes.

    Args:
        detector: the detector, with its limit on the duration.
        folder: where uploads come in and outputs are written; nothing outside it is ever deleted.
        card: Markdown of the model's card.
    """

    def __init__(self, detector: Detector, folder: Path, card: str = "") -> None:
        self.detector, self.folder, self.card = detector, folder.resolve(), card

    def judge(self, upload: str, progress: Progress) -> Judged:
        """Judges one upload with its evidence, and deletes it."""
        try:
            progress(0.0, "Looking and listening")
            result, evidence = judge_with_evidence(
                self.detector, upload, lambda share: progress(0.7 * share, "Looking and listening")
            )
            result = _as_named(result, upload)
            progress(0.85, "Drawing what raised suspicion")
            out = Path(tempfile.mkdtemp(dir=self.folder))
            page = HtmlReport(self.detector, self.card)
            page.add(upload, result, evidence)
            report.write_atomically(out / "report.html", page.render())
            report.write_atomically(out / "report.json", self._document(result))
            preview = self._preview(upload, out / "preview.mp4", result, evidence)
            return Judged(result, evidence, preview, str(out / "report.html"), str(out / "report.json"))
        finally:
            self._delete(upload)

    def judge_json(self, upload: str) -> str:
        """Judges one upload, deletes it, and returns the text of the documented JSON report."""
        try:
            return self._document(_as_named(self.detector.detect(upload), upload))
        finally:
            self._delete(upload)

    def judge_many(self, uploads: Sequence[str]) -> Iterator[FileResult]:
        """Judges uploads one after the other; each is deleted once judged, and all of them in the end."""
        try:
            for upload in uploads:
                yield _as_named(self.detector.detect(upload), upload)
                self._delete(upload)
        finally:
            for upload in uploads:
                self._delete(upload)

    def write_csv(self, results: Sequence[FileResult]) -> str:
        """A CSV file of results in a folder of its own."""
        out = Path(tempfile.mkdtemp(dir=self.folder)) / "verdicts.csv"
        report.write_atomically(out, report.as_csv(results))
        return str(out)

    def _document(self, result: FileResult) -> str:
        facts = report.run_facts(self.detector)
        return report.dump_json(report.as_json([result], self.detector.model_info, facts))

    def _preview(self, upload: str, out: Path, result: FileResult, evidence: Evidence) -> str | None:
        limits = self.detector.limits
        try:
            audio = read_audio(upload, limits=limits)
        except MediaError:  # the verdict already says what is wrong with the sound
            audio = None
        try:
            if evidence.boxes:
                framer = Framer(evidence.boxes, result.faces, self.detector.config.frame_rate_hz, PREVIEW_SIDE)
                return str(write_preview(upload, out, framer, audio, limits))
            if result.status == Status.no_video and audio is not None:
                return str(write_sound_preview(out, audio))
        except MediaError:
            pass
        return None

    def _delete(self, upload: str) -> None:
        path = Path(upload).resolve()
        if path.is_relative_to(self.folder):
            path.unlink(missing_ok=True)


def _as_named(result: FileResult, upload: str) -> FileResult:
    """The result under the file's own name, without the server's folders, and with its content credentials."""
    return replace(result, path=os.path.basename(upload), provenance=read_provenance(upload))
