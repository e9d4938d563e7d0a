"""From ResNet-50 to ConvNeXt one change at a time: LayerNorm, GELU, depthwise convolutions (paper 1, table 2).

Shape letters: B batch, C channels, H height, W width, K classes.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import Literal, get_args

from torch import Tensor, nn
from torch.nn import functional as F

EXPANSION = 4
"""Channels that leave a block, as a multiple of those inside it."""

Stem = Literal["conv7", "patchify", "conv3"]


class ChannelNorm(nn.LayerNorm):
    """LayerNorm over the channels of every pixel, which come first: ``[B, C, H, W]``."""

    def forward(self, x_BCHW: Tensor) -> Tensor:
        """Normalise; same shape."""
        x_BHWC = x_BCHW.movedim(1, -1)
        return F.layer_norm(x_BHWC, self.normalized_shape, self.weight, self.bias, self.eps).movedim(-1, 1)


class Bottleneck(nn.Module):
    """Residual block: 1 x 1 down, 3 x 3, 1 x 1 up, each followed by a norm; the sum passes the activation.

    Args:
        channels_in: C of the input.
        channels: C inside; ``EXPANSION`` times as many leave.
        stride: stride of the 3 x 3 convolution, and of the shortcut's projection.
        layernorm: whether the norms are LayerNorm in place of BatchNorm.
        gelu: whether the activations are GELU in place of ReLU.
        depthwise: whether the 3 x 3 convolution is depthwise.
    """

    def __init__(
        self, channels_in: int, channels: int, *, stride: int, layernorm: bool, gelu: bool, depthwise: bool
    ) -> None:
        super().__init__()
        channels_out = EXPANSION * channels
        groups = channels if depthwise else 1
        self.conv1 = nn.Conv2d(channels_in, channels, 1, bias=False)
        self.norm1 = _norm(channels, layernorm)
        self.conv2 = nn.Conv2d(channels, channels, 3, stride=stride, padding=1, groups=groups, bias=False)
        self.norm2 = _norm(channels, layernorm)
        self.conv3 = nn.Conv2d(channels, channels_out, 1, bias=False)
        self.norm3 = _norm(channels_out, layernorm)
        self.shortcut = nn.Identity()
        if stride > 1 or channels_in != channels_out:
            projection = nn.Conv2d(channels_in, channels_out, 1, stride=stride, bias=False)
            self.shortcut = nn.Sequential(projection, _norm(channels_out, layernorm))
        self.activation = _activation(gelu)

    def forward(self, x_BCHW: Tensor) -> Tensor:
        """``[B, C, H, W]`` to ``[B, EXPANSION * channels, H / stride, W / stride]``."""
        y = self.activation(self.norm1(self.conv1(x_BCHW)))
        y = self.activation(self.norm2(self.conv2(y)))
        return self.activation(self.norm3(self.conv3(y)) + self.shortcut(x_BCHW))


@dataclasses.dataclass(kw_only=True, eq=False)
class TransitionSettings:
    """Settings of `Transition`; the defaults are ResNet-50's."""

    layernorm: bool = False
    """Whether the norms are LayerNorm over channels in place of BatchNorm."""

    gelu: bool = False
    """Whether the activations are GELU in place of ReLU."""

    depthwise: bool = False
    """Whether the 3 x 3 convolutions are depthwise."""

    stem: Stem = "conv7"
    """``conv7``: 7 x 7 with stride 2, norm, activation and max-pooling; ``patchify``: 4 x 4 with stride 4 and norm (in
    the released code, unused in the paper); ``conv3``: 3 x 3 with stride 1, norm and activation, for images of 32
    pixels."""

    depths: Sequence[int] = dataclasses.field(default=(3, 4, 6, 3), metadata={"at_least": 1})
    """Blocks of each stage; every stage but the first halves the image and doubles the channels."""

    width: int = dataclasses.field(default=64, metadata={"at_least": 1})
    """Channels of the stem and inside the first stage's blocks."""


class Transition(nn.Module):
    """ResNet-50's stages with three of ConvNeXt's choices, each of which can be switched on alone.

    Without them it is ResNet-50: 25.56M parameters at 1,000 classes. Convolutions have no bias and start Kaiming-normal
    (fan-out, for ReLU), the rest as torch makes it; unlike timm's ResNet-50 the last norm of a block starts at one.

    Args:
        settings: settings of the network; they are not kept.
        classes: K.

    Raises:
        ValueError: there is no such stem.
    """

    def __init__(self, settings: TransitionSettings, *, classes: int) -> None:
        super().__init__()
        width, layernorm, gelu = settings.width, settings.layernorm, settings.gelu
        self.stem = _stem(settings.stem, width, layernorm=layernorm, gelu=gelu)
        blocks: list[nn.Module] = []
        channels_in = width
        for stage, depth in enumerate(settings.depths):
            channels = width * 2**stage
            for number in range(depth):
                stride = 2 if stage and not number else 1
                blocks.append(
                    Bottleneck(
                        channels_in,
                        channels,
                        stride=stride,
                        layernorm=layernorm,
                        gelu=gelu,
                        depthwise=settings.depthwise,
                    )
                )
                channels_in = EXPANSION * channels
        self.blocks = nn.Sequential(*blocks)
        self.head = nn.Linear(channels_in, classes)
        for module in self.modules():
            if isinstance(module, nn.Conv2d):
                nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")

    def forward(self, images_B3HW: Tensor) -> Tensor:
        """Classify images.

        Args:
            images_B3HW: normalised pixels.

        Returns:
            Logits ``[B, K]``.
        """
        return self.head(self.blocks(self.stem(images_B3HW)).mean(dim=(-2, -1)))


def _stem(name: str, width: int, *, layernorm: bool, gelu: bool) -> nn.Sequential:
    norm = _norm(width, layernorm)
    if name == "conv7":
        conv = nn.Conv2d(3, width, 7, stride=2, padding=3, bias=False)
        return nn.Sequential(conv, norm, _activation(gelu), nn.MaxPool2d(3, stride=2, padding=1))
    if name == "patchify":
        return nn.Sequential(nn.Conv2d(3, width, 4, stride=4, bias=False), norm)
    if name == "conv3":
        return nn.Sequential(nn.Conv2d(3, width, 3, padding=1, bias=False), norm, _activation(gelu))
    raise ValueError(f"model.stem must be one of {', '.join(get_args(Stem))}, got {name!r}.")


def _norm(channels: int, layernorm: bool) -> nn.Module:
    return ChannelNorm(channels) if layernorm else nn.BatchNorm2d(channels)


def _activation(gelu: bool) -> nn.Module:
    return nn.GELU() if gelu else nn.ReLU()
