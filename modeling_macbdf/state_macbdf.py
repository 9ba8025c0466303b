"""State that is gathered over many steps, in buffers. No formula of arXiv 2505.12966 is involved."""

from typing import Any

from torch import nn


class Float32State(nn.Module):
    """A module whose buffers keep their dtype when the model is cast.

    A moving average in half precision stands still: what a step adds is smaller than its last digit. Loading asks the
    buffers for their dtype too, so a subclass registers them as float32 whatever the default is.
    """

    def _apply(self, fn: Any, recurse: bool = True) -> Any:
        """What `to`, `half`, `cuda` and the like call: buffers go to the new device, and no further."""
        before = dict(self._buffers)
        super()._apply(fn, recurse)
        for name, old in before.items():
            new = self._buffers[name]
            if old is not None and new is not None and new.dtype != old.dtype:
                self._buffers[name] = old.to(new.device)
        return self
