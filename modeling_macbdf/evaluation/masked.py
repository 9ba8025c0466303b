"""The model itself on inputs from which the evidence was taken away: what it still says, it says for other reasons.

Each masked input is scored as whole windows without the other stream; scores are raw log-odds, whose order is the
calibrated one's.
"""

from collections.abc import Sequence

import numpy as np

from ..inference import Detector
from ..picture import MIN_STEPS
from ..scoring import Voice, WindowScorer, heard_windows
from ..timing import Stopwatch
from ..verdicts import pool
from ..windows import Window
from .calibration import IDENTITY
from .witness import Witness

WINDOWS = 2  # most windows of each masked input of a clip
MODEL_PROBES = {
    "single_frame": "the model on one frame of the face, repeated, without sound",
    "face_masked": "the model on the face crops with the face painted over, without sound",
    "background_only": "the model on crops from beside the face, without sound",
    "audio_only": "the model on the sound alone",
}


class MaskedModel:
    """Scores the masked inputs of a witness with a detector's model.

    Args:
        detector: whose model, processor and batch size are used.
    """

    def __init__(self, detector: Detector) -> None:
        scorer = detector.scorer
        self._scorer = WindowScorer(scorer.judge, scorer.processor, IDENTITY, scorer.batch_size)
        self._config, self._tracking = detector.config, detector.tracking

    def witness(self) -> Witness:
        """A witness that keeps what the masked inputs need."""
        return Witness(WINDOWS * self._config.num_frames, MIN_STEPS, self._tracking)

    def scores(self, witness: Witness) -> dict[str, float]:
        """Log-odds of each masked input that the clip allows."""
        found: dict[str, float] = {}
        if len(witness.crops) >= MIN_STEPS:
            middle = witness.crops[len(witness.crops) // 2]
            inputs = {
                "single_frame": [np.stack([middle] * self._config.num_frames)],
                "face_masked": self._windows(witness.masked),
                "background_only": self._windows(witness.background),
            }
            names = [name for name, windows in inputs.items() for _ in windows]
            windows = [Window(0, 0, len(crops), crops) for own in inputs.values() for crops in own]
            scores = self._run(windows, Voice(None, self._config.frame_rate_hz))
            for name in inputs:
                found[name] = pool(score for own, score in zip(names, scores, strict=True) if own == name)
        voice = witness.voice
        if voice is not None and voice.audio is not None:
            steps = self._config.num_frames
            windows = heard_windows(voice, steps, steps, MIN_STEPS)[:WINDOWS]
            if windows:
                found["audio_only"] = pool(self._run(windows, voice))
        return {name: round(value, 6) for name, value in found.items() if np.isfinite(value)}

    def _windows(self, crops: Sequence[np.ndarray]) -> list[np.ndarray]:
        length = self._config.num_frames
        parts = [crops[start : start + length] for start in range(0, len(crops), length)]
        return [np.stack(part) for part in parts if len(part) >= MIN_STEPS]

    def _run(self, windows: Sequence[Window], voice: Voice) -> list[float]:
        return [score.joint for score in self._scorer.score(windows, voice, Stopwatch("model"))]
