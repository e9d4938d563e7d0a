"""Parameters of every network of the papers, counted at the paper's size without allocating them."""

from __future__ import annotations

import functools
import importlib
from collections.abc import Callable

import pytest
import torch
from torch import nn

from models.gated_delta import GDN, GDNSettings
from models.gcnn import GCNN, GCNNSettings
from models.gpt import GPT, GPTSettings
from models.resnet20 import ResNet20, ResNet20Settings
from models.simple_vit import SimpleViT, SimpleViTSettings
from models.transformer import Transformer, TransformerSettings
from models.transition import Transition, TransitionSettings
from models.vit import ViT, ViTSettings

LARGE = GPTSettings(num_layers=24, num_heads=12, width=768)


@pytest.mark.parametrize(
    ("make", "millions"),
    [
        pytest.param(lambda: GPT(GPTSettings(), vocab_size=50_257, max_len=256), "49.2", id="fineweb/gpt"),
        pytest.param(lambda: GPT(LARGE, vocab_size=50_257, max_len=1024), "247.1", id="fineweb/gpt_large"),
        pytest.param(lambda: GCNN(GCNNSettings(), vocab_size=50_257, max_len=256), "53.64", id="fineweb/gcnn"),
        pytest.param(lambda: GPT(GPTSettings(), vocab_size=5, max_len=1024), "10.63", id="hg38/gpt"),
        pytest.param(lambda: GPT(GPTSettings(), vocab_size=4**4 + 1, max_len=1024), "10.82", id="hg38/gpt 4-mer"),
        pytest.param(lambda: GPT(GPTSettings(), vocab_size=4**6 + 1, max_len=1024), "13.77", id="hg38/gpt 6-mer"),
        pytest.param(lambda: ViT(ViTSettings(), classes=19_167, image_size=224), "18.3", id="imagenet21k/vit"),
        pytest.param(
            lambda: ViT(ViTSettings(num_layers=16, num_heads=16, width=768), classes=19_167, image_size=224),
            "128.6",
            id="imagenet21k/vit_large",
        ),
        pytest.param(lambda: ResNet20(ResNet20Settings(), classes=10), "0.27", id="resnet20"),
    ],
)
def test_every_network_has_the_papers_parameters(make: Callable[[], nn.Module], millions: str) -> None:
    digits = len(millions.partition(".")[2])
    assert f"{count(make) / 1e6:.{digits}f}" == millions


@pytest.mark.parametrize(
    ("num_layers", "num_heads", "width", "hidden", "millions"),
    [
        pytest.param(12, 12, 768, 2048, "162.2", id="slimpajama/transformer_160m"),
        pytest.param(24, 12, 768, 2048, "247.1", id="slimpajama/transformer_250m"),
        pytest.param(24, 16, 1024, 2816, "411.3", id="slimpajama/transformer_410m"),
        pytest.param(16, 8, 2048, 5632, "1028.1", id="slimpajama/transformer_1b"),
    ],
)
def test_every_transformer_has_the_papers_parameters(
    num_layers: int, num_heads: int, width: int, hidden: int, millions: str
) -> None:
    # The papers name the sizes after the shapes; the count is by hand, with 50,280 rows for GPT-NeoX's 50,277 ids.
    block = 4 * width**2 + 3 * width * hidden + 2 * width
    total = num_layers * block + 2 * 50_280 * width + width
    sizes = {"num_layers": num_layers, "num_heads": num_heads, "width": width}
    assert count(lambda: Transformer(TransformerSettings(**sizes), vocab_size=50_277, max_len=2048)) == total
    assert f"{total / 1e6:.1f}" == millions


@pytest.mark.parametrize(("vocab_size", "total"), [(5, 12_451_464), (50_257, 51_045_000)])
def test_gated_delta_net_has_the_parameters_of_its_definition(vocab_size: int, total: int) -> None:
    # The papers print no count. By hand, for width C = 384, 6 heads, key dim 48, value dim 96.
    width, heads, keys, values = 384, 6, 6 * 48, 6 * 96
    projections = width * (2 * keys + 2 * values + 2 * heads) + values * width
    convolutions = 4 * (2 * keys + values)
    decay_and_norm = 2 * heads + 96
    block = projections + convolutions + decay_and_norm + 8 * width**2 + 2 * width
    assert 6 * block + 2 * vocab_size * width + 2 * width == total
    assert count(lambda: GDN(GDNSettings(), vocab_size=vocab_size)) == total


@pytest.mark.parametrize(
    ("num_layers", "num_heads", "width", "classes", "total"),
    [(6, 6, 384, 19_167, 18_278_400), (16, 16, 768, 19_167, 128_584_704), (12, 6, 384, 1_000, 21_924_480)],
)
def test_vit_has_the_parameters_of_its_definition(
    num_layers: int, num_heads: int, width: int, classes: int, total: int
) -> None:
    patches = 3 * 16**2 * width + width
    block = 12 * width**2 + 2 * width + 2 * (width // num_heads)
    assert patches + num_layers * block + 2 * width + classes * width == total
    sizes = {"num_layers": num_layers, "num_heads": num_heads, "width": width}
    assert count(lambda: ViT(ViTSettings(**sizes), classes=classes, image_size=224)) == total


def test_simple_vit_has_the_parameters_of_its_definition() -> None:
    # The paper prints no count. By hand, for width 384, 12 layers and 1,000 classes.
    width, pixels = 384, 3 * 16**2
    patches = 2 * pixels + pixels * width + width + 2 * width
    block = 12 * width**2 + 5 * width + 4 * width
    network = count(lambda: SimpleViT(SimpleViTSettings(), classes=1_000, image_size=224))
    assert network == patches + 12 * block + 2 * width + 1_000 * (width + 1)


@pytest.mark.parametrize(
    ("classes", "changes", "total"),
    [
        (1_000, {}, 25_557_032),
        (19_167, {}, 62_781_215),
        (19_167, {"layernorm": True}, 62_781_215),
        (19_167, {"layernorm": True, "gelu": True}, 62_781_215),
        (19_167, {"layernorm": True, "gelu": True, "depthwise": True}, 51_497_951),
    ],
)
def test_transition_has_resnet50s_parameters_but_for_the_depthwise_kernels(
    classes: int, changes: dict[str, bool], total: int
) -> None:
    dense = sum(depth * 9 * width**2 for depth, width in zip((3, 4, 6, 3), (64, 128, 256, 512), strict=True))
    depthwise = sum(depth * 9 * width for depth, width in zip((3, 4, 6, 3), (64, 128, 256, 512), strict=True))
    resnet50 = 25_557_032 + (classes - 1_000) * 2_049
    assert resnet50 - (dense - depthwise) * changes.get("depthwise", False) == total
    assert count(lambda: Transition(TransitionSettings(**changes), classes=classes)) == total


@pytest.mark.parametrize(
    ("name", "settings", "features", "published"),
    [
        ("resnet50", "ResNet50Settings", 2_048, 25_557_032),
        ("convnext_tiny", "ConvNeXtTinySettings", 768, 28_589_128),
    ],
)
def test_timms_networks_have_the_published_parameters(name: str, settings: str, features: int, published: int) -> None:
    pytest.importorskip("timm")
    module = importlib.import_module(f"models.{name}")
    make = functools.partial(getattr(module, name), getattr(module, settings)())
    assert count(lambda: make(classes=1_000)) == published
    assert count(lambda: make(classes=19_167)) == published + 18_167 * (features + 1)


def count(make: Callable[[], nn.Module]) -> int:
    with torch.device("meta"):
        network = make()
    return sum(p.numel() for p in network.parameters() if p.requires_grad)
