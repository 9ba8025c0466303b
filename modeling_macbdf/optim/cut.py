"""Where the graph is cut: heads behind, encoders before, each differentiated by itself."""

from collections.abc import Mapping, Sequence

from torch import Tensor


class Cut:
    """Detached stand-ins for encoder outputs, so that heads and encoders are differentiated apart.

    Each encoder's graph is freed after its last objective, so two encoders must not share a part of the graph:
    parameters that both use are a group of their own, resolved without a cut.

    Args:
        features: for each group of shared parameters what its encoder made, a tensor or a list of tensors; None where
            the encoder did not run (a missing modality).

    Example:
        >>> cut = Cut({"video": video_encoder(frames), "audio": audio_encoder(mel)})
        >>> losses = heads(cut["video"], cut["audio"])
        >>> report = pareto_backward(losses, {"video": video_parameters, "audio": audio_parameters}, cut=cut)
    """

    def __init__(self, features: Mapping[str, Tensor | Sequence[Tensor] | None]) -> None:
        self.sources = {name: _as_list(value) for name, value in features.items()}
        self.leaves = {name: [_leaf(tensor) for tensor in tensors] for name, tensors in self.sources.items()}
        self._single = {name: isinstance(value, Tensor) for name, value in features.items()}
        self._missing = {name for name, value in features.items() if value is None}

    def __getitem__(self, name: str) -> Tensor | list[Tensor] | None:
        """The stand-ins of one encoder's outputs, in the shape they were given: a tensor, a list or None."""
        if name in self._missing:
            return None
        return self.leaves[name][0] if self._single[name] else list(self.leaves[name])


def _as_list(value: Tensor | Sequence[Tensor] | None) -> list[Tensor]:
    if value is None:
        return []
    return [value] if isinstance(value, Tensor) else list(value)


def _leaf(tensor: Tensor) -> Tensor:
    return tensor.detach().requires_grad_(tensor.requires_grad)
