"""Training windows of genuine pictures under other voices, real and synthetic: a cloned voice over real footage."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from torch.utils.data import Dataset

from .clips import IGNORE, Labelled, mask_labels
from .dataset import TrainingOptions, TrainingWindows, WindowItem


class DubbedWindows(Dataset[WindowItem]):
    """Real pictures of one set under the voices of another one.

    Both halves of a pair show the same real picture; the first one speaks with a real voice, the second one with the
    synthetic voice that stands beside it. Lips and voice belong together in neither: only the synthesis differs, and
    footage that is merely dubbed counts as real.

    Args:
        pictures, voices: the sets, both paired, with windows of the same length, sound of the same sampling rate and
            seeds of their own.

    Raises:
        ValueError: they are not paired, differ in length or sampling rate, or are drawn by one seed.
    """

    def __init__(self, pictures: TrainingWindows, voices: TrainingWindows) -> None:
        lengths = pictures.options.steps, voices.options.steps
        if not (pictures.training.paired and voices.training.paired) or lengths[0] != lengths[1]:
            raise ValueError(f"pictures and voices must be paired windows of one length, but have {lengths} steps")
        rates = pictures.settings.sampling_rate, voices.settings.sampling_rate
        if rates[0] != rates[1]:
            raise ValueError(f"pictures and voices must have one sampling_rate, but have {rates} Hz")
        if pictures.training.seed == voices.training.seed:  # equal draws: a picture would meet few of the voices
            raise ValueError(f"pictures and voices must have seeds of their own, but both have {voices.training.seed}")
        self.pictures, self.voices = pictures, voices

    @property
    def training(self) -> TrainingOptions:
        """How the pictures are drawn."""
        return self.pictures.training

    @property
    def epoch(self) -> int:
        """The epoch that was chosen."""
        return self.pictures.epoch

    def set_epoch(self, epoch: int) -> None:
        """Choose the epoch, also in workers that are running."""
        self.pictures.set_epoch(epoch)
        self.voices.set_epoch(epoch)

    def __len__(self) -> int:
        return len(self.pictures)

    def __getitem__(self, index: int) -> WindowItem:
        picture = self.pictures[index - index % 2]  # the half that is not forged
        return replace(picture, labelled=dub(picture.labelled, self.voices[index].labelled))


def dub(picture: Labelled, voice: Labelled) -> Labelled:
    """The picture of one window under the sound of another one; fake where the voice is."""
    sound = voice.clip
    clip = replace(
        picture.clip,
        audio=sound.audio,
        audio_mask=sound.audio_mask,
        whole_audio=sound.whole_audio,
        audio_start=sound.audio_start,
    )
    kind = "+".join(("dubbed", *filter(None, (voice.kind,))))
    return replace(
        picture,
        clip=clip,
        label=int(_either(picture.video_label, voice.audio_label)),
        audio_label=voice.audio_label,
        frame_labels=_either(picture.video_frame_labels, voice.audio_frame_labels),
        audio_frame_labels=voice.audio_frame_labels,
        sync_labels=mask_labels(np.zeros(clip.steps), clip.video_mask & clip.audio_mask),
        kind=kind,
    )


def _either(picture: np.ndarray | int, voice: np.ndarray | int) -> np.ndarray:
    """1 where one of them is forged, `IGNORE` where that is not known, else 0."""
    labels = np.stack([picture, voice])
    unknown = np.where((labels == IGNORE).any(axis=0), IGNORE, 0)
    return np.where((labels == 1).any(axis=0), 1, unknown)
