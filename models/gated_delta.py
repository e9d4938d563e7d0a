"""Gated DeltaNet (Yang, Kautz & Hatamizadeh 2024, arXiv 2412.06464), the linear recurrent mixer of paper 1.

The definition is flash-linear-attention's: short convolutions on queries, keys and values, decay from a softplus, a
gated norm on the way out. Its CUDA kernel is used where it is installed; elsewhere the same recurrence runs in chunks
in plain torch.

Shape letters: B batch, T positions, C width, H heads, K key dim of a head, V value dim of a head; in the chunked rule
N chunks of L positions.
"""

from __future__ import annotations

import dataclasses
import math
from typing import Any

import torch
from torch import Tensor, nn
from torch.fx.experimental.proxy_tensor import get_proxy_mode
from torch.nn import functional as F

from models.decoder import NORM_EPS, Decoder
from models.installed import is_installed

CHUNK = 32
"""Positions per chunk: enough that there are few sequential steps, few enough that L x L products are cheap."""


def recurrent_gated_delta_rule(
    q_BTHK: Tensor, k_BTHK: Tensor, v_BTHV: Tensor, log_decay_BTH: Tensor, beta_BTH: Tensor
) -> Tensor:
    """The gated delta rule by its definition, one position after the other (slow).

    A head has a state ``S`` (K x V), at first zero. At every position it decays, is corrected so that it maps the key
    closer to the value, and is read with the query::

        S <- exp(log_decay) S
        S <- S + beta k (v - S^T k)^T
        o  = S^T q / sqrt(K)

    Args:
        q_BTHK: queries.
        k_BTHK: keys; the rule is stable for keys of length one and beta at most 2.
        v_BTHV: values.
        log_decay_BTH: at most 0.
        beta_BTH: how far a value is written, 0 to 1.

    Returns:
        ``[B, T, H, V]``.
    """
    scale = q_BTHK.shape[-1] ** -0.5
    state_BHKV = v_BTHV.new_zeros(q_BTHK.shape[0], *q_BTHK.shape[2:], v_BTHV.shape[-1])
    outputs = []
    for t in range(q_BTHK.shape[1]):
        key_BHK1 = k_BTHK[:, t, :, :, None]
        state_BHKV = state_BHKV * log_decay_BTH[:, t, :, None, None].exp()
        error_BH1V = v_BTHV[:, t, :, None, :] - key_BHK1.transpose(-1, -2) @ state_BHKV
        state_BHKV = state_BHKV + key_BHK1 @ (beta_BTH[:, t, :, None, None] * error_BH1V)
        outputs.append((q_BTHK[:, t, :, None, :] @ state_BHKV).squeeze(-2) * scale)
    return torch.stack(outputs, dim=1)


def chunked_gated_delta_rule(
    q_BTHK: Tensor, k_BTHK: Tensor, v_BTHV: Tensor, log_decay_BTH: Tensor, beta_BTH: Tensor, *, chunk: int = CHUNK
) -> Tensor:
    """The gated delta rule, many positions at once: equal to `recurrent_gated_delta_rule` up to rounding.

    With ``g`` the decay's logarithm summed from the chunk's start, the corrections ``u`` of a chunk that starts in
    state ``S`` solve a unit lower-triangular system::

        u_t = beta_t (v_t - exp(g_t) S^T k_t - sum_{s<t} exp(g_t - g_s) (k_t . k_s) u_s)

    The solve is linear in ``S``, so it is done for all chunks together, once for the values and once for the keys;
    only the state then goes from chunk to chunk.

    Args:
        q_BTHK: queries.
        k_BTHK: keys.
        v_BTHV: values.
        log_decay_BTH: at most 0.
        beta_BTH: how far a value is written, 0 to 1.
        chunk: L.

    Returns:
        ``[B, T, H, V]``.
    """
    length = q_BTHK.shape[1]
    q_BHNLK, k_BHNLK, v_BHNLV = (_in_chunks(x, chunk) for x in (q_BTHK * q_BTHK.shape[-1] ** -0.5, k_BTHK, v_BTHV))
    beta_BHNL1 = _in_chunks(beta_BTH[..., None], chunk)
    # Positions of padding have beta 0 and decay 1: they leave the state as it is.
    # Sums of a chunk can be large and their differences small, so both are taken in double precision.
    g_BHNL1 = _in_chunks(log_decay_BTH[..., None], chunk).cumsum(dim=-2, dtype=torch.float64)

    later = torch.ones(chunk, chunk, dtype=torch.bool, device=q_BTHK.device).triu(1)
    # Masked before the exponential: above the diagonal it could overflow.
    between_BHNLL = (g_BHNL1 - g_BHNL1.transpose(-1, -2)).to(v_BTHV.dtype)
    decay_BHNLL = between_BHNLL.masked_fill(later, -torch.inf).exp()
    since_start_BHNL1 = g_BHNL1.to(v_BTHV.dtype).exp()
    until_end_BHNL1 = (g_BHNL1[..., -1:, :] - g_BHNL1).to(v_BTHV.dtype).exp()
    system_BHNLL = beta_BHNL1 * (k_BHNLK @ k_BHNLK.transpose(-1, -2)) * decay_BHNLL
    inverse_BHNLL = _unitriangular_inverse(system_BHNLL)  # by one small solve, then products
    u_BHNLV = inverse_BHNLL @ (beta_BHNL1 * v_BHNLV)
    w_BHNLK = inverse_BHNLL @ (beta_BHNL1 * since_start_BHNL1 * k_BHNLK)

    scores_BHNLL = (q_BHNLK @ k_BHNLK.transpose(-1, -2)) * decay_BHNLL
    faded_q_BHNLK = q_BHNLK * since_start_BHNL1
    kept_k_BHNKL = (k_BHNLK * until_end_BHNL1).transpose(-1, -2)
    kept_BHN11 = since_start_BHNL1[..., -1:, :]

    state_BHKV = v_BTHV.new_zeros(q_BTHK.shape[0], *q_BTHK.shape[2:], v_BTHV.shape[-1])
    outputs = []
    for q, w, u, scores, k, kept in zip(
        *(x.unbind(2) for x in (faded_q_BHNLK, w_BHNLK, u_BHNLV, scores_BHNLL, kept_k_BHNKL, kept_BHN11)), strict=True
    ):
        corrections_BHLV = u - w @ state_BHKV
        outputs.append(q @ state_BHKV + scores @ corrections_BHLV)
        state_BHKV = kept * state_BHKV + k @ corrections_BHLV
    return torch.cat(outputs, dim=2)[:, :, :length].transpose(1, 2)


def _unitriangular_inverse(system_BHNLL: Tensor) -> Tensor:
    """Inverse of the lower triangles, their diagonal taken as one; what lies above is ignored."""
    identity_LL = torch.eye(system_BHNLL.shape[-1], dtype=system_BHNLL.dtype, device=system_BHNLL.device)
    return torch.linalg.solve_triangular(
        system_BHNLL, identity_LL.expand_as(system_BHNLL), upper=False, unitriangular=True
    )


def _in_chunks(x_BTHD: Tensor, chunk: int) -> Tensor:
    """``[B, T, H, D]`` to ``[B, H, N, L, D]``, zeros after the end."""
    padding = -x_BTHD.shape[1] % chunk
    return F.pad(x_BTHD, (0, 0, 0, 0, 0, padding)).unflatten(1, (-1, chunk)).permute(0, 3, 1, 2, 4).contiguous()


def kernel_applies(values: Tensor) -> bool:
    """Whether flash-linear-attention's kernel can be used: a CUDA tensor, and the library is installed."""
    return values.is_cuda and is_installed("fla")


def gated_delta_rule(q_BTHK: Tensor, k_BTHK: Tensor, v_BTHV: Tensor, log_decay_BTH: Tensor, beta_BTH: Tensor) -> Tensor:
    """The gated delta rule as the device computes it fastest: flash-linear-attention on CUDA, else in chunks.

    Args:
        q_BTHK: queries; cast to the values' dtype for the kernel, to float32 without it.
        k_BTHK: keys.
        v_BTHV: values.
        log_decay_BTH: at most 0, float32.
        beta_BTH: how far a value is written, 0 to 1.

    Returns:
        ``[B, T, H, V]`` in the values' dtype.
    """
    if kernel_applies(v_BTHV):
        dtype = v_BTHV.dtype
        taken = (q_BTHK.to(dtype), k_BTHK.to(dtype), v_BTHV, log_decay_BTH.float(), beta_BTH.to(dtype))
        return _Folded.apply(*taken) if any(map(torch._C._functorch.is_batchedtensor, taken)) else _kernel(*taken)
    # A triangular solve exists in full precision only, and in half precision its error would grow along the chunk.
    with torch.autocast(v_BTHV.device.type, enabled=False):
        parts = (q_BTHK, k_BTHK, v_BTHV, log_decay_BTH, beta_BTH)
        wide = torch.promote_types(v_BTHV.dtype, torch.float32)
        return chunked_gated_delta_rule(*(x.to(wide) for x in parts)).to(v_BTHV.dtype)


def _kernel(q: Tensor, k: Tensor, v: Tensor, log_decay: Tensor, beta: Tensor) -> Tensor:
    if get_proxy_mode() is not None:
        # A trace records what torch dispatches; the library starts its kernels by itself, and they would be missing.
        raise RuntimeError("flash-linear-attention's kernels are not seen by a trace")
    from fla.ops.gated_delta_rule import chunk_gated_delta_rule

    output, _ = chunk_gated_delta_rule(q, k, v, g=log_decay, beta=beta)
    return output


class _Folded(torch.autograd.Function):
    """The kernel under vmap, for which it has no rule: the run dimension is folded into the batch."""

    @staticmethod
    def forward(q: Tensor, k: Tensor, v: Tensor, log_decay: Tensor, beta: Tensor) -> Tensor:
        return _kernel(q, k, v, log_decay, beta)

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Any, ...], output: Tensor) -> None:
        """Nothing is kept for a backward pass: gradients flow through the folded call itself."""

    @staticmethod
    def vmap(info: Any, in_dims: tuple[int | None, ...], *taken: Tensor) -> tuple[Tensor, int]:
        by_run = (
            x.movedim(dim, 0) if dim is not None else x.expand(info.batch_size, *x.shape)
            for x, dim in zip(taken, in_dims, strict=True)
        )
        return _kernel(*(x.flatten(0, 1) for x in by_run)).unflatten(0, (info.batch_size, -1)), 0


class ShortConvolution(nn.Module):
    """Causal depthwise convolution, then SiLU.

    Args:
        features: size of the last dimension.
        kernel_size: positions in the window, the present one included.
    """

    def __init__(self, features: int, kernel_size: int) -> None:
        super().__init__()
        self.kernel_size = kernel_size
        self.conv = nn.Conv1d(features, features, kernel_size, groups=features, bias=False)

    def forward(self, x_BTC: Tensor) -> Tensor:
        """``[B, T, C]`` to ``[B, T, C]``."""
        padded_BCT = F.pad(x_BTC.transpose(1, 2), (self.kernel_size - 1, 0))
        return F.silu(self.conv(padded_BCT).transpose(1, 2))


class GatedDelta(nn.Module):
    """The mixer: projects its input to the arguments of `gated_delta_rule`; normalises, gates and projects the output.

    Args:
        width: C.
        num_heads: H.
        head_dim: K.
        expand_v: V / K.
        kernel_size: positions in the window of the short convolutions.
        norm_eps: eps of the norm of the output.
    """

    def __init__(
        self,
        width: int,
        num_heads: int,
        head_dim: int,
        expand_v: int = 2,
        kernel_size: int = 4,
        norm_eps: float = NORM_EPS,
    ) -> None:
        super().__init__()
        self.num_heads = num_heads
        keys, values = num_heads * head_dim, num_heads * head_dim * expand_v
        self.q = nn.Linear(width, keys, bias=False)
        self.k = nn.Linear(width, keys, bias=False)
        self.v = nn.Linear(width, values, bias=False)
        self.q_conv = ShortConvolution(keys, kernel_size)
        self.k_conv = ShortConvolution(keys, kernel_size)
        self.v_conv = ShortConvolution(values, kernel_size)
        self.decay = nn.Linear(width, num_heads, bias=False)
        self.beta = nn.Linear(width, num_heads, bias=False)
        self.gate = nn.Linear(width, values, bias=False)
        self.norm = nn.RMSNorm(head_dim * expand_v, eps=norm_eps)
        self.out = nn.Linear(values, width, bias=False)
        # Decay rates spread over 0 to 16, time steps log-uniformly over 0.001 to 0.1: the start of Mamba 2.
        self.log_rate_H = nn.Parameter(torch.empty(num_heads).uniform_(1e-4, 16).log())
        step_H = torch.empty(num_heads).uniform_(math.log(1e-3), math.log(1e-1)).exp()
        self.step_bias_H = nn.Parameter(step_H + torch.log(-torch.expm1(-step_H)))  # the inverse of softplus

    def forward(self, x_BTC: Tensor) -> Tensor:
        """Mix positions; ``[B, T, C]`` to ``[B, T, C]``."""
        q_BTHK, k_BTHK, v_BTHV = (
            conv(project(x_BTC)).unflatten(-1, (self.num_heads, -1))
            for project, conv in ((self.q, self.q_conv), (self.k, self.k_conv), (self.v, self.v_conv))
        )
        log_decay_BTH = -self.log_rate_H.exp() * F.softplus(self.decay(x_BTC).float() + self.step_bias_H)
        y_BTHV = gated_delta_rule(_unit(q_BTHK), _unit(k_BTHK), v_BTHV, log_decay_BTH, self.beta(x_BTC).sigmoid())
        gate_BTHV = self.gate(x_BTC).unflatten(-1, (self.num_heads, -1))
        return self.out((self.norm(y_BTHV) * F.silu(gate_BTHV)).flatten(-2))


def _unit(x_BTHK: Tensor) -> Tensor:
    """Each head's vector scaled to length one (zero stays zero), float32 at least."""
    wide = x_BTHK.to(torch.promote_types(x_BTHK.dtype, torch.float32))
    return wide * torch.rsqrt(wide.square().sum(dim=-1, keepdim=True) + 1e-6)


@dataclasses.dataclass(kw_only=True, eq=False)
class GDNSettings:
    """Settings of `GDN`; the defaults are paper 1's."""

    num_layers: int = dataclasses.field(default=6, metadata={"at_least": 1, "at_most": 1000})
    """Blocks of the network."""

    num_heads: int = dataclasses.field(default=6, metadata={"at_least": 1})
    """Heads of the recurrence per block."""

    width: int = dataclasses.field(default=384, metadata={"at_least": 1})
    """Features per position; 3/4 of them must divide by the heads."""


class GDN(Decoder):
    """The Gated DeltaNet language model of paper 1 (appendix A.6): GPT's skeleton without positions.

    A head's keys have 3/4 of ``width / num_heads`` features and its values twice as many, so that a mixer with its
    gate has about ``6 C^2`` parameters.

    Args:
        settings: settings of the network; they are not kept.
        vocab_size: V.

    Raises:
        ValueError: 3/4 of the width is not divisible by the number of heads.
    """

    def __init__(self, settings: GDNSettings, *, vocab_size: int) -> None:
        width, num_heads = settings.width, settings.num_heads
        if 3 * width % (4 * num_heads):
            raise ValueError(
                "3/4 of width must be divisible by num_heads (a key has 3/4 of a head's features), got width "
                f"{width} and num_heads {num_heads}."
            )
        super().__init__(
            vocab_size=vocab_size,
            num_layers=settings.num_layers,
            width=width,
            make_mixer=lambda: GatedDelta(width, num_heads, 3 * width // (4 * num_heads)),
        )
