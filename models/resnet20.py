"""The ResNet for small images (He et al. 2016, section 4.2), with BatchNorm.

Shape letters: B batch, C channels, H height, W width, K classes.
"""

from __future__ import annotations

import dataclasses

from torch import Tensor, nn
from torch.nn import functional as F

STAGES = 3


class BasicBlock(nn.Module):
    """Two 3 x 3 convolutions with BatchNorm; a shortcut without parameters (option A of the paper).

    Args:
        channels_in: C of the input.
        channels: C of the output.
        stride: stride of the first convolution and of the shortcut, which subsamples the pixels.
    """

    def __init__(self, channels_in: int, channels: int, stride: int) -> None:
        super().__init__()
        self.stride = stride
        self.new_channels = channels - channels_in
        self.conv1 = nn.Conv2d(channels_in, channels, 3, stride=stride, padding=1, bias=False)
        self.norm1 = nn.BatchNorm2d(channels)
        self.conv2 = nn.Conv2d(channels, channels, 3, padding=1, bias=False)
        self.norm2 = nn.BatchNorm2d(channels)

    def forward(self, x_BCHW: Tensor) -> Tensor:
        """``[B, C, H, W]`` to ``[B, channels, H / stride, W / stride]``."""
        y = F.relu(self.norm1(self.conv1(x_BCHW)))
        y = self.norm2(self.conv2(y))
        shortcut = x_BCHW[..., :: self.stride, :: self.stride]
        if self.new_channels:
            shortcut = F.pad(shortcut, (0, 0, 0, 0, 0, self.new_channels))
        return F.relu(y + shortcut)


@dataclasses.dataclass(kw_only=True, eq=False)
class ResNet20Settings:
    """Settings of `ResNet20`; the defaults are its paper's."""

    blocks_per_stage: int = dataclasses.field(default=3, metadata={"at_least": 1, "at_most": 1000})
    """Blocks of each of the three stages; 3 make 20 layers with weights."""

    width: int = dataclasses.field(default=16, metadata={"at_least": 1})
    """Channels of the first stage; each stage doubles them."""


class ResNet20(nn.Module):
    """Three stages at full, half and a quarter of the resolution: 0.27M parameters at 10 classes.

    Convolutions start Kaiming-normal (fan-out, for ReLU).

    Args:
        settings: settings of the network; they are not kept.
        classes: K.
    """

    def __init__(self, settings: ResNet20Settings, *, classes: int) -> None:
        super().__init__()
        width = settings.width
        self.conv = nn.Conv2d(3, width, 3, padding=1, bias=False)
        self.norm = nn.BatchNorm2d(width)
        blocks: list[nn.Module] = []
        channels_in = width
        for stage in range(STAGES):
            channels = width * 2**stage
            for number in range(settings.blocks_per_stage):
                blocks.append(BasicBlock(channels_in, channels, stride=2 if stage and not number else 1))
                channels_in = channels
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
        x_BCHW = F.relu(self.norm(self.conv(images_B3HW)))
        return self.head(self.blocks(x_BCHW).mean(dim=(-2, -1)))
