"""The temperature of the contrastive loss: an attention network proposes, a Gaussian belief decides.

Source: arXiv 2505.12966, Mechanism 1: "parameterized attention network and Bayesian estimation to adjust temperature
dynamically based on batch variance and gradient history". The paper gives no formula; these are [our reading].

Letters: B clips, P projection width. All of the arithmetic is in float32, autocast or not.
"""

import math
from collections.abc import Callable
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from transformers import initialization as init
from transformers.utils.generic import maybe_autocast

from .state_macbdf import Float32State

_VARIANCE_RANGE = (1e-2, 1.0)  # of a proposal, in (log tau)^2
_PRIOR_VARIANCE = 0.1  # of the belief before any step: the first proposals count about half
_PROCESS_NOISE = (1e-5, 1e-3)  # per step, calm and erratic gradients; the gain settles near 0.01 and 0.1
_GRADIENT_DECAY = 0.95  # of the gradient history: a memory of about 20 steps


def _log_between(raw: Tensor, low: float, high: float) -> Tensor:
    """log of a value between two positive bounds. A clamp would trap the raw value outside, without gradient."""
    return math.log(low) + math.log(high / low) * torch.sigmoid(raw)


def _raw(value: float, low: float, high: float) -> float:
    share = min(max(math.log(value / low) / math.log(high / low), 1e-3), 1 - 1e-3)
    return math.log(share / (1 - share))


class TemperatureProposal(nn.Module):
    """A proposal (log tau, variance) from the pairs of a batch: one multi-head attention pooling.

    The batch variance of S = z_v z_a^T is the context: it forms the query that looks at the pairs.

    Args:
        config: `projection_size` P, `num_attention_heads`, `temperature_min`, `temperature_max`, `temperature_value`.
    """

    def __init__(self, config: Any) -> None:
        super().__init__()
        width = config.projection_size
        self.heads = config.num_attention_heads
        if width % self.heads:
            raise ValueError(
                f"projection_size must be a multiple of num_attention_heads={self.heads}, but got {width}"
            )
        self.bounds = (config.temperature_min, config.temperature_max)
        self.start = config.temperature_value
        self.pair = nn.Linear(3 * width, width)
        self.query = nn.Linear(1, width)
        self.key = nn.Linear(width, width)
        self.value = nn.Linear(width, width)
        self.output = nn.Linear(width, 2)
        self.reset_state()

    def reset_state(self) -> None:
        """Start at `temperature_value` whatever the batch, with the middle of the variances."""
        init.zeros_(self.output.weight)
        init.copy_(self.output.bias, torch.tensor([_raw(self.start, *self.bounds), 0.0]))

    def forward(self, z_v: Tensor, z_a: Tensor, valid: Tensor) -> tuple[Tensor, Tensor]:
        """Propose a temperature; the embeddings are read, never trained, by it.

        Args:
            z_v, z_a: (B, P) unit norm.
            valid: (B,) bool, pairs to look at.

        Returns:
            Two 0-dim float32 tensors: log tau within the configured range, and its variance.
        """
        z_v, z_a = z_v.detach().float(), z_a.detach().float()
        context = torch.log(_pair_variance(z_v, z_a, valid) + 1e-6).view(1, 1)
        pairs = torch.cat([z_v, z_a, z_v * z_a], dim=-1)  # (B, 3 P)
        dtype = self.pair.weight.dtype
        pooled = self._attend(self.query(context.to(dtype)), F.gelu(self.pair(pairs.to(dtype))), valid)
        raw = self.output(pooled).float()  # (2,)
        return _log_between(raw[0], *self.bounds), _log_between(raw[1], *_VARIANCE_RANGE).exp()

    def _attend(self, query: Tensor, tokens: Tensor, valid: Tensor) -> Tensor:
        head_query = query.view(self.heads, 1, -1)  # (heads, 1, P / heads)
        keys = self.key(tokens).unflatten(-1, (self.heads, -1)).transpose(0, 1)  # (heads, B, P / heads)
        values = self.value(tokens).unflatten(-1, (self.heads, -1)).transpose(0, 1)
        logits = (head_query * keys).sum(dim=-1).float() / math.sqrt(keys.shape[-1])  # (heads, B)
        weights = logits.masked_fill(~valid, torch.finfo(logits.dtype).min).softmax(dim=-1)
        return (weights.unsqueeze(-1).to(values.dtype) * values).sum(dim=1).flatten()  # (P,)


def _pair_variance(z_v: Tensor, z_a: Tensor, valid: Tensor) -> Tensor:
    similarity = z_v @ z_a.T
    both = (valid.unsqueeze(0) & valid.unsqueeze(1)).to(similarity.dtype)
    count = both.sum().clamp(min=1)
    mean = (similarity * both).sum() / count
    return ((similarity - mean).square() * both).sum() / count


class AdaptiveTemperature(Float32State):
    """The temperature of the contrastive loss: fixed, learned, or a Bayesian belief over log tau.

    In mode "adaptive" a Gaussian belief N(mu, s^2) over log tau meets a proposal N(log tau_hat, sigma_hat^2) at each
    training step: K = s^2 / (s^2 + sigma_hat^2), mu <- mu + K (log tau_hat - mu), s^2 <- (1 - K) s^2 + q. The gain K
    falls as evidence gathers, so a proposal that jumps to and fro moves tau less and less. The process noise q
    grows with the relative variance of |dL / d log tau|, var / mean^2, which no loss scaling changes. The step's
    K (log tau_hat - mu) carries gradient, the old belief does not. Every state is a persistent buffer, and the same
    on all processes if the embeddings given are those of all processes (see `gather_pairs`).

    One forward counts as one observation in the gradient history, however often it is back-propagated: the first
    finite gradient that is not zero.

    Args:
        config: `temperature_mode` ("adaptive", "learned" or "fixed"), and the attributes of `TemperatureProposal`.
    """

    belief_mean: Tensor  # mu, of log tau
    belief_variance: Tensor  # s^2
    gradient_mean: Tensor  # moving average of |dL / d log tau|
    gradient_variance: Tensor
    gradient_count: Tensor  # observations so far

    def __init__(self, config: Any) -> None:
        super().__init__()
        self.mode = config.temperature_mode
        self.range = (config.temperature_min, config.temperature_max)
        self.start = config.temperature_value
        if self.mode == "learned":
            self.raw_temperature = nn.Parameter(torch.empty(1))
        elif self.mode == "adaptive":
            self.proposal = TemperatureProposal(config)
            for name in ("belief_mean", "belief_variance", "gradient_mean", "gradient_variance", "gradient_count"):
                self.register_buffer(name, torch.empty((), dtype=torch.float32))
        self.reset_state()

    def reset_state(self) -> None:
        """Forget everything: the belief and the raw parameter return to `temperature_value`."""
        if self.mode == "learned":
            init.constant_(self.raw_temperature, _raw(self.start, *self.range))
        elif self.mode == "adaptive":
            init.constant_(self.belief_mean, math.log(self.start))
            init.constant_(self.belief_variance, _PRIOR_VARIANCE)
            for buffer in (self.gradient_mean, self.gradient_variance, self.gradient_count):
                init.zeros_(buffer)

    def forward(self, z_v: Tensor, z_a: Tensor, valid: Tensor) -> Tensor:
        """Give the temperature, in training after one update of the belief.

        Args:
            z_v, z_a: (B, P) unit norm, of all processes.
            valid: (B,) bool, pairs with both streams.

        Returns:
            0-dim float32 tensor in [temperature_min, temperature_max].
        """
        if self.mode == "fixed":
            return torch.full((), self.start, dtype=torch.float32, device=z_v.device)
        if self.mode == "learned":
            log_tau = _log_between(self.raw_temperature[0].float(), *self.range)
        else:
            log_tau = self._update(z_v, z_a, valid) if self.training else self.belief_mean
        return log_tau.exp().clamp(*self.range)

    def _update(self, z_v: Tensor, z_a: Tensor, valid: Tensor) -> Tensor:
        mean, variance = self.belief_mean.clone(), self.belief_variance.clone()
        with maybe_autocast(z_v.device.type, enabled=False):
            proposed, uncertainty = self.proposal(z_v, z_a, valid)
        # No pair, or a proposal spoilt by an overflow: this step teaches nothing.
        usable = valid.any() & torch.isfinite(proposed) & torch.isfinite(uncertainty)
        gain = variance / (variance + torch.where(usable, uncertainty, 1.0))
        log_tau = mean + gain * (torch.where(usable, proposed, mean) - mean)
        with torch.no_grad():
            self.belief_mean.copy_(log_tau)
            self.belief_variance.copy_(torch.where(usable, (1 - gain) * variance + self.process_noise(), variance))
        if log_tau.requires_grad:
            log_tau.register_hook(self._gradient_recorder(usable))
        return log_tau

    @torch.no_grad()
    def process_noise(self) -> Tensor:
        """q of the next update, 0-dim: low for steady gradients, up to its bound for erratic ones."""
        ratio = self.gradient_variance / self.gradient_mean.square().clamp(min=1e-30)
        calm, erratic = _PROCESS_NOISE
        return calm + (erratic - calm) * ratio / (1 + ratio)

    def _gradient_recorder(self, usable: Tensor) -> Callable[[Tensor], None]:
        recorded = ~usable  # 0-dim bool of this forward; tensors throughout, so that a GPU never waits

        @torch.no_grad()
        def record(gradient: Tensor) -> None:
            size = gradient.float().abs()
            fresh = ~recorded & torch.isfinite(size) & (size > 0)
            recorded.logical_or_(fresh)
            self._record(size, fresh)

        return record

    def _record(self, size: Tensor, fresh: Tensor) -> None:
        step = torch.where(self.gradient_count > 0, 1 - _GRADIENT_DECAY, 1.0)
        delta = size - self.gradient_mean
        variance = (1 - step) * (self.gradient_variance + step * delta.square())
        self.gradient_variance.copy_(torch.where(fresh, variance, self.gradient_variance))
        self.gradient_mean.copy_(torch.where(fresh, self.gradient_mean + step * delta, self.gradient_mean))
        self.gradient_count.add_(fresh)
