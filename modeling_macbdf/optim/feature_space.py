"""The approximate, cheaper variant: gradients compared at the encoder outputs instead of at the parameters.

**Approximate.** One vector-Jacobian product per encoder, 1.04 times a plain step, but the Gram matrix is that of the
gradients with respect to the features. Their conflict is not the parameters' conflict: on a toy model the resulting
direction opposed an objective in 20-38 % of the steps. Opt in only where the exact route does not fit.
"""

from collections.abc import Iterable, Mapping, Sequence

import torch
import torch.distributed as dist
from torch import Tensor

from .cut import Cut
from .gradients import ObjectiveGradients, StepReport
from .pareto import OMPareto, PlainSum, Resolution, Rule
from .rows import Row, combined, gram_matrix

_JOINT = "feature_space"


class FeatureSpaceGradients(ObjectiveGradients):
    """`ObjectiveGradients` that resolves each micro-batch at the cut; it needs a `Cut` and its own rule.

    With several micro-batches each is resolved by itself, for its graph is gone at the boundary. With several
    processes the feature Gram matrices are summed first: the processes' samples are parts of one batch.

    Args:
        rule: how the gradients at the cut become one; `OMPareto()` by default.
        distributed: sum the feature Gram matrices over the default process group; needs `objectives`.
        groups, others, objectives: as in `ObjectiveGradients`, but others before the cut take the rule's direction.

    Raises:
        ValueError: `distributed` without `objectives`, and as in `ObjectiveGradients`.
    """

    def __init__(
        self,
        groups: Mapping[str, Iterable[Tensor]],
        others: Iterable[Tensor] = (),
        objectives: Mapping[str, Sequence[str]] | None = None,
        rule: Rule | None = None,
        distributed: bool = False,
    ) -> None:
        super().__init__(groups, others, objectives)
        if distributed and objectives is None:
            raise ValueError("objectives must list each group's objectives where distributed is True, but got None.")
        self.rule = OMPareto() if rule is None else rule
        self.distributed = distributed
        self._found: dict[str, Resolution] = {}
        self._names: dict[str, list[str]] = {}

    def accumulate(self, losses: Mapping[str, Tensor], cut: Cut | None = None) -> None:
        """As the exact variant, but the cut must be given."""
        if cut is None:
            raise ValueError("cut must be given in feature-space mode, but got None.")
        super().accumulate(losses, cut)

    def _pull_back(self, group: str, sources: list[Tensor], rows: dict[str, Row], shared: bool) -> None:
        names = list(rows) if self.objectives is None else list(self.objectives.get(group, ()))
        if not names:  # no objective reaches this group
            return
        listed = [rows.get(name, [None] * len(sources)) for name in names]
        gram = gram_matrix(listed)
        if self.distributed:
            on_device = gram.to(self._device())
            dist.all_reduce(on_device)
            gram = on_device.cpu()
        self._found[group], self._names[group] = self.rule(gram), names
        joint = {_JOINT: combined(listed, self._found[group].weights, gram)}
        super()._pull_back(group, sources, joint, shared)

    def _device(self) -> torch.device:
        """Where the gradients are; a group has no parameter if its encoder is frozen."""
        return next(p.device for parameters in [*self.groups.values(), self.others] for p in parameters)

    def _stored(self) -> dict[str, Sequence[str]]:
        return {group: [_JOINT] for group in self.groups}

    def resolve(self, rule: Rule | None = None, nonfinite: str = "skip") -> StepReport:
        """As the exact variant; the report holds the last micro-batch's decisions.

        Raises:
            ValueError: a `rule` is given: the gradients were resolved with the one given at construction.
        """
        if rule is not None:
            raise ValueError(f"rule must be given at construction in feature-space mode, but got {rule!r}.")
        report = super().resolve(PlainSum(), nonfinite)
        found, names = self._found, self._names
        self._found, self._names = {}, {}
        return StepReport(found, report.finite, names)
