"""Windows for training and evaluation, from a cache.

Everything random about item i of epoch e follows from (seed, e, i): the number of workers changes nothing.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace

import numpy as np
import torch
from torch.utils.data import Dataset

from .augmentation import AugmentOptions, augment
from .balance import BALANCES, track_weights
from .cache_reader import TrackCache, TrackEntry
from .clips import Clip, Labelled
from .pseudofakes import VISUAL, Mix
from .records import ClipRecord
from .windows import label_window, window_starts

DONOR_TRIES = 8


@dataclass(frozen=True)
class WindowOptions:
    """What a window is.

    Attributes:
        steps: of a window.
        hop: steps from one window to the next, in evaluation.
        min_steps: of a face; shorter tracks give no window.
        trim_silence: leave out what lies before the first and after the last sound (of clips that have sound):
            leading silence alone tells real from fake in two published datasets.
    """

    steps: int = 16
    hop: int = 8
    min_steps: int = 4
    trim_silence: bool = True


@dataclass(frozen=True)
class WindowItem:
    """One item of a data set: a labelled window and where it comes from.

    Attributes:
        labelled: the window.
        record: its clip.
        track: number of the face track.
        first_s: when it begins on the clip's clock, in seconds.
    """

    labelled: Labelled
    record: ClipRecord
    track: int
    first_s: float


class _Windows(Dataset[WindowItem]):
    """What training and evaluation windows share."""

    def __init__(self, cache: TrackCache, options: WindowOptions) -> None:
        self.cache, self.options = cache, options
        self.settings = cache.settings

    def _start_s(self, start: int) -> float:
        """When a window begins whose first crop is the stored instant `start`."""
        return (start + 0.5) / self.settings.cache_rate_hz - 0.5 / self.settings.frame_rate_hz

    def _first_of_step(self, step: int) -> int:
        """The stored instant at the centre of a model step."""
        return step * self.settings.stride + self.settings.middle

    def _span(self, entry: TrackEntry) -> tuple[int, int]:
        """Stored instants [first, end) that windows may show: of the track, or of the sound where there is no face."""
        if entry.instants:
            return entry.first, entry.first + entry.instants
        steps = entry.audio_samples // self.settings.step_samples
        return 0, steps * self.settings.stride

    def _item(self, entry: TrackEntry, start: int) -> WindowItem:
        clip = self.cache.read(entry, start, self.options.steps)
        first_s = self._start_s(start)
        labelled = label_window(entry.record, clip, first_s, 1 / self.settings.frame_rate_hz)
        return WindowItem(labelled, entry.record, entry.track, first_s)

    def _long_enough(self, entry: TrackEntry) -> bool:
        first, end = self._span(entry)
        return end - first > (self.options.min_steps - 1) * self.settings.stride


class EvaluationWindows(_Windows):
    """Every window of every track, on the model's own steps, as recorded: nearly what `macbdf detect` sees."""

    def __init__(self, cache: TrackCache, options: WindowOptions | None = None) -> None:
        super().__init__(cache, options or WindowOptions(trim_silence=False))
        self.index = [
            (entry, start) for entry in cache.entries if self._long_enough(entry) for start in self._starts(entry)
        ]

    def _starts(self, entry: TrackEntry) -> list[int]:
        first, end = self._span(entry)
        stride, middle = self.settings.stride, self.settings.middle
        steps = [(i - middle) // stride for i in range(first, end) if (i - middle) % stride == 0]
        if not steps:
            return []
        starts = window_starts(len(steps), self.options.steps, self.options.hop)
        return [self._first_of_step(steps[0] + start) for start in starts]

    def __len__(self) -> int:
        return len(self.index)

    def __getitem__(self, index: int) -> WindowItem:
        return self._item(*self.index[index])


@dataclass(frozen=True)
class TrainingOptions:
    """How training windows are drawn.

    Attributes:
        seed: of everything random.
        windows: items an epoch; None = one a track.
        fake_share: probability that a real window is forged.
        paired: items 2 k and 2 k + 1 are the same real window with the same augmentation, the second one forged
            (`fake_share` is not used). In one batch they leave the forgery as the only difference.
        recorded_share: where windows are paired, probability that the forged one is a recorded fake that belongs to
            the real one: the other half of its pair, else a fake of the same source.
        balance: "none" shows each track once an epoch; "source", "identity" or "label_source" draw so that each
            source, first identity, or source within a label is shown equally often.
        mix: the pseudo-fakes.
        augmentation: applied to every window alike.
    """

    seed: int = 0
    windows: int | None = None
    fake_share: float = 0.5
    paired: bool = False
    recorded_share: float = 0.0
    balance: str = "source"
    mix: Mix = field(default_factory=Mix)
    augmentation: AugmentOptions = field(default_factory=AugmentOptions)

    def __post_init__(self) -> None:
        if self.balance not in BALANCES:
            raise ValueError(f"balance must be one of {BALANCES}, but got {self.balance!r}")
        for name in ("fake_share", "recorded_share"):
            if not 0 <= getattr(self, name) <= 1:
                raise ValueError(f"{name} must be in [0, 1], but got {getattr(self, name)}")


class TrainingWindows(_Windows):
    """Random windows, of which a share is forged on the fly.

    Call `set_epoch` before each epoch; running workers see the change.
    """

    def __init__(
        self, cache: TrackCache, options: WindowOptions | None = None, training: TrainingOptions | None = None
    ) -> None:
        super().__init__(cache, options or WindowOptions())
        self.training = training or TrainingOptions()
        long_enough = [entry for entry in cache.entries if self._long_enough(entry)]
        fakes = [entry for entry in long_enough if entry.record.label == 1]
        # In pairs, every item begins with a real clip; recorded fakes come in beside the real one that they match.
        self.entries = [e for e in long_enough if e.record.label != 1] if self.training.paired else long_enough
        self._counterparts = _by_match(fakes) if self.training.paired else {}
        if not self.entries:
            raise ValueError(f"cache must hold a track of {self.options.min_steps} steps or more, but it holds none")
        donors = [entry for entry in self.entries if entry.record.label == 0]
        self._faces = [entry for entry in donors if entry.instants]
        self._voices = [entry for entry in donors if entry.audio_samples]
        self._weights = track_weights([entry.record for entry in self.entries], self.training.balance)
        self._epoch = torch.zeros(1, dtype=torch.int64).share_memory_()
        self._order: tuple[int, np.ndarray] = (-1, np.zeros(0, np.int64))

    def set_epoch(self, epoch: int) -> None:
        """Choose the epoch, also in workers that are running."""
        self._epoch[0] = epoch

    @property
    def epoch(self) -> int:
        """The epoch that was chosen."""
        return int(self._epoch[0])

    def __len__(self) -> int:
        return self.training.windows or len(self.entries)

    def __getitem__(self, index: int) -> WindowItem:
        epoch = self.epoch
        draw = index // 2 if self.training.paired else index
        rng = np.random.default_rng([self.training.seed, epoch, draw])
        entry = self.entries[self._choose(epoch, draw, rng)]
        start = self._random_start(entry, rng)
        shared = rng.spawn(1)[0]  # before the forgery draws anything: both halves of a pair are augmented alike
        forged = index % 2 == 1 if self.training.paired else rng.random() < self.training.fake_share
        recorded = self._counterpart(entry, start, rng) if forged and self.training.paired else None
        item = recorded or self._item(entry, start)
        labelled = self._forge(item, entry, rng) if forged and recorded is None else item.labelled
        changed = augment(labelled.clip, shared, self.training.augmentation)
        return replace(item, labelled=replace(labelled, clip=changed))

    def _counterpart(self, entry: TrackEntry, start: int, rng: np.random.Generator) -> WindowItem | None:
        """A recorded fake for this real window, of the same instant where the two are a pair; None = forge one."""
        matches = next((self._counterparts[key] for key in _matches(entry.record) if key in self._counterparts), [])
        if not matches or rng.random() >= self.training.recorded_share:
            return None
        # Generators weigh the same, however many clips they have.
        generators = sorted({other.record.generator for other in matches})
        generator = generators[int(rng.integers(len(generators)))]
        same = [other for other in matches if other.record.generator == generator]
        fake = same[int(rng.integers(len(same)))]
        if not entry.record.pair or fake.record.pair != entry.record.pair:
            return self._item(fake, self._random_start(fake, rng))
        return self._item(fake, start) if self._covers(fake, start) else None

    def _covers(self, entry: TrackEntry, start: int) -> bool:
        """Whether a window that begins at the stored instant `start` shows enough of the track."""
        first, end = self._span(entry)
        steps = range(start, start + self.options.steps * self.settings.stride, self.settings.stride)
        return sum(first <= instant < end for instant in steps) >= min(self.options.min_steps, self.options.steps)

    def _choose(self, epoch: int, index: int, rng: np.random.Generator) -> int:
        if self._weights is not None:
            return int(rng.choice(len(self.entries), p=self._weights))
        if self._order[0] != epoch:
            order = np.random.default_rng([self.training.seed, epoch]).permutation(len(self.entries))
            self._order = (epoch, order)
        return int(self._order[1][index % len(self.entries)])

    def _sounding_span(self, entry: TrackEntry) -> tuple[int, int]:
        """The span without leading and trailing silence, where that leaves enough."""
        first, end = self._span(entry)
        if not self.options.trim_silence or not entry.sounding:
            return first, end
        rate = self.settings.cache_rate_hz / self.settings.sampling_rate
        low = max(first, int(np.ceil(entry.sounding[0] * rate)))
        high = min(end, int(np.floor(entry.sounding[1] * rate)))
        return (low, high) if high - low > (self.options.min_steps - 1) * self.settings.stride else (first, end)

    def _random_start(self, entry: TrackEntry, rng: np.random.Generator) -> int:
        first, end = self._sounding_span(entry)
        needed = (self.options.steps - 1) * self.settings.stride + 1
        spare = end - first - needed
        if spare < 0:  # too short for a window: any of the first instants, so that the phase still varies
            spare = min(self.settings.stride, end - first) - 1
        return first + int(rng.integers(0, spare + 1))

    def _forge(self, item: WindowItem, entry: TrackEntry, rng: np.random.Generator) -> Labelled:
        """The window forged; as it is where its clip is no real one, or can bear none of the kinds."""
        labelled = item.labelled
        if entry.record.label != 0:
            return labelled
        forging, drawing = np.random.default_rng(rng.integers(2**63)).spawn(2)
        fake = self.training.mix.draw(labelled.clip, forging, lambda kind: self._donor(entry, kind, drawing))
        return labelled if fake is None else fake

    def _donor(self, entry: TrackEntry, kind: str, rng: np.random.Generator) -> Clip | None:
        """A real window of another person, with what the kind takes, or None if none was found in a few draws."""
        people = set(entry.record.identities)
        donors = self._faces if kind in VISUAL else self._voices
        for _ in range(DONOR_TRIES if donors else 0):
            other = donors[int(rng.integers(len(donors)))]
            if other.record.key != entry.record.key and not people & set(other.record.identities):
                return self.cache.read(other, self._random_start(other, rng), self.options.steps)
        return None


def _matches(record: ClipRecord) -> list[tuple[str, str]]:
    """What a recorded fake must share with a real clip to stand beside it, the closest first."""
    return [(name, value) for name, value in (("pair", record.pair), ("source", record.source)) if value]


def _by_match(fakes: Sequence[TrackEntry]) -> dict[tuple[str, str], list[TrackEntry]]:
    groups: dict[tuple[str, str], list[TrackEntry]] = {}
    for entry in fakes:
        for key in _matches(entry.record):
            groups.setdefault(key, []).append(entry)
    return groups
