"""The networks on images: what they compute, checked against other definitions of the same thing."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn
from torch.nn import functional as F

from models.axial_rotary import AxialRotary
from models.resnet20 import ResNet20, ResNet20Settings
from models.self_attention import SelfAttention
from models.simple_vit import SimpleViT, SimpleViTSettings
from models.sinusoidal import grid_positions
from models.transition import ChannelNorm, Transition, TransitionSettings
from models.vit import ViT, ViTSettings

TINY: dict[str, Any] = {"num_layers": 2, "num_heads": 2, "width": 16, "patch_size": 8}


def vit(*, classes: int = 5, image_size: int = 32, **settings: Any) -> ViT:
    return ViT(ViTSettings(**settings), classes=classes, image_size=image_size)


def sinusoidal_vit(**settings: Any) -> ViT:
    return vit(positions="sinusoidal", **settings)


def simple_vit(*, classes: int = 5, image_size: int = 32, **settings: Any) -> SimpleViT:
    return SimpleViT(SimpleViTSettings(**settings), classes=classes, image_size=image_size)


@settings(max_examples=15, deadline=None)
@given(
    classes=st.integers(2, 30),
    side=st.integers(1, 4),
    patch_size=st.sampled_from([2, 4]),
    batch=st.integers(1, 3),
    make=st.sampled_from([vit, simple_vit, sinusoidal_vit]),
)
def test_every_transformer_gives_one_row_of_logits_per_image(
    classes: int, side: int, patch_size: int, batch: int, make: Callable[..., nn.Module]
) -> None:
    size = side * patch_size
    network = make(classes=classes, image_size=size, patch_size=patch_size, num_layers=1, num_heads=2, width=16)
    assert network(torch.randn(batch, 3, size, size)).shape == (batch, classes)


@settings(max_examples=10, deadline=None)
@given(
    classes=st.integers(2, 30),
    size=st.sampled_from([32, 40, 64]),
    stem=st.sampled_from(["conv7", "patchify", "conv3"]),
    flags=st.tuples(st.booleans(), st.booleans(), st.booleans()),
)
def test_every_convolutional_network_gives_one_row_of_logits_per_image(
    classes: int, size: int, stem: Any, flags: tuple[bool, bool, bool]
) -> None:
    layernorm, gelu, depthwise = flags
    images = torch.randn(2, 3, size, size)
    small = TransitionSettings(
        layernorm=layernorm, gelu=gelu, depthwise=depthwise, stem=stem, depths=(1, 1, 1), width=4
    )
    transition = Transition(small, classes=classes)
    assert transition(images).shape == (2, classes)
    assert ResNet20(ResNet20Settings(blocks_per_stage=1, width=4), classes=classes)(images).shape == (2, classes)


def test_first_loss_of_the_vit_is_exactly_ln_k() -> None:
    network = vit(classes=300, image_size=16, **TINY)
    loss = F.cross_entropy(network(torch.randn(4, 3, 16, 16)).double(), torch.randint(0, 300, (4,)))
    assert loss.item() == pytest.approx(math.log(300), abs=1e-12)


@pytest.mark.parametrize("make", [vit, sinusoidal_vit, simple_vit])
def test_every_transformer_tells_where_a_patch_is_by_its_positions_alone(make: Callable[..., nn.Module]) -> None:
    torch.manual_seed(0)
    network = make(classes=5, image_size=32, **TINY).double()
    nn.init.normal_(network.head.weight)
    images = torch.randn(3, 3, 32, 32, dtype=torch.float64)
    shuffled = permute_patches(images, 8, torch.randperm(16))
    assert not torch.allclose(network(images), network(shuffled), atol=1e-4)
    for module in network.modules():
        if isinstance(module, SelfAttention):
            module.rotary = nn.Identity()
    if network.positions_TC is not None:
        network.positions_TC.zero_()
    torch.testing.assert_close(network(images), network(shuffled))


def permute_patches(images: Tensor, patch_size: int, order: Tensor) -> Tensor:
    patches = F.unfold(images, patch_size, stride=patch_size)[:, :, order]
    return F.fold(patches, images.shape[-2:], patch_size, stride=patch_size)


def test_axial_rotary_is_a_complex_rotation_by_column_and_row() -> None:
    rows, columns, head_dim, theta = 3, 5, 16, 100.0
    x = torch.randn(2, 4, rows * columns, head_dim)
    pairs = torch.view_as_complex(x.double().unflatten(-1, (-1, 2)))
    expected = torch.empty_like(pairs)
    for patch in range(rows * columns):
        for pair in range(head_dim // 2):
            place = patch % columns if pair < head_dim // 4 else patch // columns
            frequency = theta ** (-4 * (pair % (head_dim // 4)) / head_dim)
            turn = complex(math.cos(place * frequency), math.sin(place * frequency))
            expected[..., patch, pair] = pairs[..., patch, pair] * turn
    got = AxialRotary(head_dim, rows, columns, theta)(x)
    torch.testing.assert_close(got, torch.view_as_real(expected).flatten(-2).float())


def test_grid_positions_by_hand() -> None:
    table = grid_positions(2, 3, 8)
    assert table.shape == (6, 8)
    for patch in range(6):
        x, y = patch % 3, patch // 3
        by_hand = [
            math.sin(x), math.sin(x / 1e4), math.cos(x), math.cos(x / 1e4),
            math.sin(y), math.sin(y / 1e4), math.cos(y), math.cos(y / 1e4),
        ]  # fmt: skip
        torch.testing.assert_close(table[patch], torch.tensor(by_hand))
    with pytest.raises(ValueError, match="divisible by 4"):
        grid_positions(2, 2, 10)


def test_patch_attention_is_softmax_of_scaled_products_over_all_patches() -> None:
    torch.manual_seed(0)
    layer = SelfAttention(16, 2, None, qk_norm=False, causal=False).double()
    x = torch.randn(3, 6, 16, dtype=torch.float64)
    q, k, v = (x @ weight.T for weight in layer.qkv.weight.chunk(3))
    heads = []
    for head in (slice(0, 8), slice(8, 16)):
        weights = torch.softmax(q[..., head] @ k[..., head].transpose(1, 2) / math.sqrt(8), dim=-1)
        heads.append(weights @ v[..., head])
    torch.testing.assert_close(layer(x), torch.cat(heads, dim=-1) @ layer.out.weight.T)


def test_transition_without_changes_is_timms_resnet50() -> None:
    pytest.importorskip("timm")
    from models.resnet50 import ResNet50Settings, resnet50

    torch.manual_seed(0)
    ours, theirs = Transition(TransitionSettings(), classes=11).eval(), resnet50(ResNet50Settings(), classes=11).eval()
    states = zip(theirs.state_dict().items(), ours.state_dict().values(), strict=True)
    theirs.load_state_dict({name: value for (name, _), value in states})
    images = torch.randn(2, 3, 64, 64)
    torch.testing.assert_close(ours(images), theirs(images))


@pytest.mark.parametrize("layernorm", [False, True])
@pytest.mark.parametrize("gelu", [False, True])
@pytest.mark.parametrize("depthwise", [False, True])
def test_every_change_is_made_everywhere_and_alone(layernorm: bool, gelu: bool, depthwise: bool) -> None:
    with torch.device("meta"):
        network = Transition(TransitionSettings(layernorm=layernorm, gelu=gelu, depthwise=depthwise), classes=3)
    modules = list(network.modules())
    norms = {type(m) for m in modules if isinstance(m, nn.BatchNorm2d | nn.LayerNorm)}
    activations = {type(m) for m in modules if isinstance(m, nn.ReLU | nn.GELU)}
    groups = {m.groups == m.in_channels for m in modules if isinstance(m, nn.Conv2d) and m.kernel_size == (3, 3)}
    assert norms == {ChannelNorm if layernorm else nn.BatchNorm2d}
    assert activations == {nn.GELU if gelu else nn.ReLU}
    assert groups == {depthwise}
    assert all(m.groups == 1 for m in modules if isinstance(m, nn.Conv2d) and m.kernel_size != (3, 3))


def test_channel_norm_is_layer_norm_of_every_pixel() -> None:
    torch.manual_seed(0)
    norm = ChannelNorm(6)
    nn.init.normal_(norm.weight)
    nn.init.normal_(norm.bias)
    x = torch.randn(2, 6, 3, 4)
    got = norm(x)
    for row in range(3):
        for column in range(4):
            pixel = x[:, :, row, column]
            centred = pixel - pixel.mean(1, keepdim=True)
            expected = centred / (pixel.var(1, correction=0, keepdim=True) + 1e-5).sqrt() * norm.weight + norm.bias
            torch.testing.assert_close(got[:, :, row, column], expected)


def test_resnet20_shortcuts_carry_the_input_through() -> None:
    # With each block's last norm at zero a stage passes the activation of its subsampled input, padded by zeros.
    network = ResNet20(ResNet20Settings(blocks_per_stage=2, width=4), classes=3).eval()
    for block in network.blocks:
        nn.init.zeros_(block.norm2.weight)
    x = torch.randn(2, 4, 8, 8).relu()
    y = network.blocks(x)
    assert y.shape == (2, 16, 2, 2)
    assert torch.equal(y[:, :4], x[..., ::4, ::4]) and not y[:, 4:].any()


@pytest.mark.parametrize(
    ("make", "part"),
    [
        (lambda: vit(image_size=30), "image_size must be a multiple of patch_size, got 30 and 16"),
        (lambda: simple_vit(image_size=8), "image_size must be a multiple"),
        (lambda: vit(num_heads=5), "divisible by 4 x num_heads"),
        (lambda: vit(positions="learnt"), "model.positions must be one of rotary, sinusoidal"),
        (lambda: simple_vit(attention="fast"), "model.attention must be one of"),
        (
            lambda: Transition(TransitionSettings(stem="conv5"), classes=5),
            "model.stem must be one of conv7, patchify, conv3",
        ),
    ],
)
def test_settings_that_make_no_network_are_refused(make: Callable[[], nn.Module], part: str) -> None:
    with pytest.raises(ValueError, match=part):
        make()
