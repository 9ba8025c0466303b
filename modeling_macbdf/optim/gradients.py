"""Losses and parameters -> one gradient per objective: the only autograd code of gradient aggregation.

The cheapest exact route, with K objectives and one encoder per modality: one forward; `Cut` the graph at the encoder
outputs; the heads' backward once per objective, which is cheap; then one vector-Jacobian product per encoder and
objective that reaches it. With two objectives per encoder that is (F + 2B) / (F + B), 1.67 times a plain step.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import TypeAlias

import torch
from torch import Tensor

from .cut import Cut
from .pareto import OMPareto, Resolution, Rule
from .rows import Row, add_to_grad, all_finite, all_reduce_mean, all_zero, combined, gram_matrix, reaches, summed

Losses: TypeAlias = Mapping[str, Tensor]


@dataclass(frozen=True)
class StepReport:
    """What `ObjectiveGradients.resolve` did.

    Attributes:
        groups (`dict[str, Resolution]`): the rule's decision for each group of shared parameters.
        finite (`bool`): False where any gradient, shared or not, is NaN or infinite.
        objectives (`dict[str, list[str]]`): for each group the objectives that its resolution's entries belong to.
    """

    groups: dict[str, Resolution]
    finite: bool
    objectives: dict[str, list[str]]


class ObjectiveGradients:
    """The gradients of K objectives, kept apart for each group of shared parameters until a rule resolves them.

    `accumulate` once per micro-batch, `all_reduce` once per step where several processes share it, `resolve` once.
    Parameters outside the groups (`others`: heads, fusion) take the plain sum of the objectives' gradients.

    Args:
        groups: name -> the parameters of one encoder. Truly shared parameters are one group.
        others: every other parameter to train.
        objectives: name of a group -> names of the objectives that reach it. Needed by `all_reduce`, where every
            process must agree on the list; None lets each batch show it.

    Raises:
        ValueError: a parameter appears twice, or `objectives` names an unknown group.
    """

    def __init__(
        self,
        groups: Mapping[str, Iterable[Tensor]],
        others: Iterable[Tensor] = (),
        objectives: Mapping[str, Sequence[str]] | None = None,
    ) -> None:
        self.groups = {name: [p for p in parameters if p.requires_grad] for name, parameters in groups.items()}
        self.others = [p for p in others if p.requires_grad]
        self.objectives = objectives
        _check_disjoint(self.groups, self.others)
        if objectives is not None and objectives.keys() - groups.keys():
            raise ValueError(f"objectives must name groups among {sorted(groups)}, but got {sorted(objectives)}.")
        self.clear()

    def clear(self) -> None:
        """Drops what has been accumulated."""
        self._rows: dict[str, dict[str, Row]] = {name: {} for name in self.groups}
        self._plain: Row = [None] * len(self.others)

    def accumulate(self, losses: Losses, cut: Cut | None = None) -> None:
        """Adds the gradients of one micro-batch and frees its graph.

        Args:
            losses: objective -> scalar, all from the same forward. Divide by the number of micro-batches beforehand.
            cut: where the graph was cut; None differentiates the losses down to the groups' parameters directly.

        Raises:
            ValueError: a loss is not a scalar, an objective reaches a group that `objectives` does not list it for, or
                the cut is not that of the groups.
        """
        live = {name: loss for name, loss in losses.items() if _checked_loss(name, loss).requires_grad}
        if cut is None:
            self._accumulate_whole(live)
            return
        if cut.leaves.keys() != self.groups.keys():
            raise ValueError(
                f"cut must name each group (None where its encoder did not run), {sorted(self.groups)}, but names "
                f"{sorted(cut.leaves)}."
            )
        self._accumulate_cut(live, cut)

    def all_reduce(self) -> None:
        """Replaces every gradient by its mean over the default process group: one all-reduce per objective.

        The Gram matrix of averaged gradients is not the average of the processes' Gram matrices, so this comes first.
        """
        stored = self._stored()
        for objective in sorted({name for names in stored.values() for name in names}):
            reached = [group for group in self.groups if objective in stored.get(group, ())]
            rows = [self._rows[group].setdefault(objective, [None] * len(self.groups[group])) for group in reached]
            all_reduce_mean(rows, [self.groups[group] for group in reached])
        all_reduce_mean([self._plain], [self.others])
        for group, names in stored.items():  # an objective that a process lacked came last there: sums must agree
            known = self._rows[group]
            self._rows[group] = {name: known[name] for name in names if reaches(known[name])}

    def resolve(self, rule: Rule | None = None, nonfinite: str = "skip") -> StepReport:
        """Writes `.grad` of every parameter and empties the store.

        Args:
            rule: how each group's gradients become one; `OMPareto()` by default.
            nonfinite: "skip" leaves every `.grad` None where any gradient is NaN or infinite, so that the optimizer
                changes nothing; "propagate" writes the plain sum, so that a gradient scaler sees it and skips.

        Raises:
            ValueError: `nonfinite` is neither.
        """
        if nonfinite not in ("skip", "propagate"):
            raise ValueError(f"nonfinite must be 'skip' or 'propagate', but got {nonfinite!r}.")
        grams = {name: gram_matrix(list(rows.values())) for name, rows in self._rows.items() if rows}
        found = {name: (rule or OMPareto())(gram) for name, gram in grams.items()}
        finite = all(resolution.finite for resolution in found.values()) and all_finite(self._plain)
        if finite or nonfinite == "propagate":
            for name, resolution in found.items():
                self._write(name, resolution.weights if finite else torch.ones_like(resolution.weights), grams[name])
            add_to_grad(self.others, self._plain)
        else:
            self._drop_grads()
        objectives = {name: list(rows) for name, rows in self._rows.items() if rows}
        self.clear()
        return StepReport(found, finite, objectives)

    def _accumulate_whole(self, losses: Losses) -> None:
        shared = [parameter for parameters in self.groups.values() for parameter in parameters]
        for index, (objective, loss) in enumerate(losses.items()):
            grads = _gradients([loss], shared + self.others, index + 1 < len(losses))
            for group, parameters in self.groups.items():
                for name, row in self._only_listed(group, {objective: grads[: len(parameters)]}).items():
                    self._add(group, name, row)
                grads = grads[len(parameters) :]
            self._plain = summed(self._plain, grads)

    def _accumulate_cut(self, losses: Losses, cut: Cut) -> None:
        leaves = [leaf for group in cut.leaves.values() for leaf in group]
        pulled: dict[str, dict[str, Row]] = {group: {} for group in cut.leaves}
        for index, (objective, loss) in enumerate(losses.items()):
            grads = _gradients([loss], leaves + self.others, index + 1 < len(losses))
            for group, row in cut.leaves.items():
                pulled[group][objective] = grads[: len(row)]
                grads = grads[len(row) :]
            self._plain = summed(self._plain, grads)
        for number, (group, rows) in enumerate(pulled.items(), start=1):
            present = {objective: row for objective, row in rows.items() if reaches(row)}
            listed = self._only_listed(group, present)
            self._pull_back(group, cut.sources[group], listed, shared=number < len(pulled))

    def _pull_back(self, group: str, sources: list[Tensor], rows: dict[str, Row], shared: bool) -> None:
        """One vector-Jacobian product through an encoder per objective that reaches its outputs.

        The graph stays where it is `shared`: another group may stand on the same layers before the cut.
        """
        parameters = self.groups[group]
        for index, (objective, row) in enumerate(rows.items()):
            grads = _gradients(sources, parameters + self.others, shared or index + 1 < len(rows), row)
            self._add(group, objective, grads[: len(parameters)])
            self._plain = summed(self._plain, grads[len(parameters) :])

    def _stored(self) -> Mapping[str, Sequence[str]]:
        """Group -> objectives whose gradients every process holds."""
        if self.objectives is None:
            raise ValueError("objectives must list each group's objectives to all-reduce them, but got None.")
        return self.objectives

    def _listed(self, group: str, objective: str) -> bool:
        return self.objectives is None or objective in self.objectives.get(group, ())

    def _only_listed(self, group: str, rows: dict[str, Row]) -> dict[str, Row]:
        """Leaves out unlisted objectives, whose gradients must then be zeros (as of rows batched along)."""
        for objective, row in rows.items():
            if not self._listed(group, objective) and not all_zero(row):
                raise ValueError(f"objectives[{group!r}] must list {objective!r}, whose gradient reaches that group.")
        return {objective: row for objective, row in rows.items() if self._listed(group, objective)}

    def _add(self, group: str, objective: str, grads: Row) -> None:
        if reaches(grads):
            rows = self._rows[group]
            rows[objective] = summed(rows[objective], grads) if objective in rows else grads

    def _write(self, group: str, weights: Tensor, gram: Tensor) -> None:
        add_to_grad(self.groups[group], combined(list(self._rows[group].values()), weights, gram))

    def _drop_grads(self) -> None:
        for parameters in [self.others, *self.groups.values()]:
            for parameter in parameters:
                parameter.grad = None


def pareto_backward(
    losses: Losses,
    shared: Mapping[str, Iterable[Tensor]] | Iterable[Tensor],
    rule: Rule | None = None,
    *,
    others: Iterable[Tensor] | None = None,
    cut: Cut | None = None,
) -> StepReport:
    """`sum(losses).backward()` with the conflicts between the losses resolved on the shared parameters.

    Works for any number of objectives and modalities. Where a gradient is NaN or infinite, every `.grad` is None
    afterwards and the report says `finite=False`: the optimizer step then changes nothing.

    Args:
        losses: objective -> scalar loss, all from one forward.
        shared: the parameters that several objectives share: name -> parameters for one group per encoder, or one
            iterable for a single group. Each group is resolved by itself.
        rule: `OMPareto()` by default.
        others: parameters that take the plain sum. None means every other leaf that the losses reach, on either side
            of the cut.
        cut: where the graph was cut at the encoder outputs. The same result, and cheaper where an objective crosses
            encoders that it does not train.

    Example:
        >>> losses = {"joint": joint_loss, "video": video_loss, "audio": audio_loss}
        >>> report = pareto_backward(losses, {"video": video.parameters(), "audio": audio.parameters()}, OMPareto())
        >>> optimizer.step()
    """
    groups = shared if isinstance(shared, Mapping) else {"shared": shared}
    groups = {name: list(parameters) for name, parameters in groups.items()}
    if others is None:
        taken = [tensor for parameters in groups.values() for tensor in parameters]
        stand_ins = [] if cut is None else [leaf for leaves in cut.leaves.values() for leaf in leaves]
        sources = [] if cut is None else [source for own in cut.sources.values() for source in own]
        others = _reached_leaves([*losses.values(), *sources], taken + stand_ins)
    gradients = ObjectiveGradients(groups, others)
    gradients.accumulate(losses, cut)
    return gradients.resolve(rule)


def _gradients(outputs: list[Tensor], inputs: list[Tensor], keep_graph: bool, grad_outputs: Row | None = None) -> Row:
    """`torch.autograd.grad` where outputs and inputs without a gradient and inputs out of reach are allowed."""
    cotangents = [None] * len(outputs) if grad_outputs is None else grad_outputs
    pairs = [
        (output, cotangent)
        for output, cotangent in zip(outputs, cotangents, strict=True)
        if output.requires_grad and (grad_outputs is None or cotangent is not None)
    ]
    wanted = [tensor for tensor in inputs if tensor.requires_grad]  # not those of a frozen encoder
    if not pairs or not wanted:
        return [None] * len(inputs)
    used, received = zip(*pairs, strict=True)
    found = iter(torch.autograd.grad(used, wanted, received, retain_graph=keep_graph, allow_unused=True))
    return [next(found) if tensor.requires_grad else None for tensor in inputs]


def _checked_loss(name: str, loss: Tensor) -> Tensor:
    if loss.numel() != 1:
        raise ValueError(f"losses[{name!r}] must be a scalar, but got shape {tuple(loss.shape)}.")
    return loss


def _check_disjoint(groups: Mapping[str, list[Tensor]], others: list[Tensor]) -> None:
    seen: dict[int, str] = {}
    for name, parameters in [*groups.items(), ("others", others)]:
        for parameter in parameters:
            if id(parameter) in seen:
                raise ValueError(
                    f"a parameter must belong to one group, but one of shape {tuple(parameter.shape)} is in "
                    f"{seen[id(parameter)]!r} and in {name!r}."
                )
            seen[id(parameter)] = name


def _reached_leaves(outputs: Iterable[Tensor], excluded: Iterable[Tensor]) -> list[Tensor]:
    """The leaf tensors that the outputs depend on, in the order found, without the excluded ones."""
    known, leaves = {id(tensor) for tensor in excluded}, []
    nodes = [output.grad_fn for output in outputs if output.grad_fn is not None]
    visited = set(nodes)
    while nodes:
        node = nodes.pop()
        variable = getattr(node, "variable", None)  # only the node that accumulates into a leaf has one
        if variable is not None and id(variable) not in known:
            known.add(id(variable))
            leaves.append(variable)
        fresh = {following for following, _ in node.next_functions if following is not None} - visited
        visited |= fresh
        nodes.extend(fresh)
    return leaves
