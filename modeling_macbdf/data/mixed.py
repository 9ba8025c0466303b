"""Training windows of several sets at once."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from torch.utils.data import Dataset

from .dataset import TrainingWindows, WindowItem
from .dubbing import DubbedWindows


class MixedWindows(Dataset[WindowItem]):
    """Training windows of several sets, each with its share of the draws.

    Args:
        sets: the sets; all paired, or none.
        shares: weight of each, positive.
        seed: of the choice among them.
        windows: items an epoch.

    Raises:
        ValueError: no set, or as many shares as sets are not given, or one is not positive, or only some are paired.
    """

    def __init__(
        self, sets: Sequence[TrainingWindows | DubbedWindows], shares: Sequence[float], seed: int, windows: int
    ) -> None:
        if not sets or len(sets) != len(shares) or min(shares) <= 0:
            raise ValueError(f"shares must be one positive number for each of {len(sets)} sets, but got {shares}")
        paired = [part.training.paired for part in sets]
        if len(set(paired)) > 1:  # halves of two pairs would stand together
            raise ValueError(f"sets must be all paired, or none, but paired is {paired}")
        self.sets, self.seed, self.windows = list(sets), seed, windows
        self._shares = np.asarray(shares, float) / sum(shares)

    def set_epoch(self, epoch: int) -> None:
        """Choose the epoch, also in workers that are running."""
        for part in self.sets:
            part.set_epoch(epoch)

    def __len__(self) -> int:
        return self.windows

    def __getitem__(self, index: int) -> WindowItem:
        first = self.sets[0]
        draw = index // 2 if first.training.paired else index  # both halves of a pair come from one set
        rng = np.random.default_rng([self.seed, first.epoch, draw, len(self.sets)])
        return self.sets[int(rng.choice(len(self.sets), p=self._shares))][index]
