"""`suite.optim` in other people's hands: imports, plug-ins, libraries, AMP, torch.compile, several processes."""

from __future__ import annotations

import importlib.metadata
import importlib.util
import re
import shutil
import subprocess
import sys
import venv
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.distributed as dist
from optimizer_examples import small_network
from torch import nn

from suite.optim import (
    CompositeOptimizer,
    ConfigError,
    OptimizerConfig,
    build,
    config_class,
    evaluation_weights,
    kernels,
    list_optimizers,
    parse,
    register,
    registry,
)

ROOT = Path(__file__).resolve().parents[1]
HYBRID = {
    "name": "hybrid",
    "adam": {"on": ["head", "norm"], "lr": 1e-2, "beta": 0.95},
    "sgd": {"lr": 0.3, "momentum": 0.9},
}


def python(code: str, cwd: Path = ROOT) -> str:
    done = subprocess.run([sys.executable, "-c", code], cwd=cwd, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_listing_the_catalogue_imports_no_torch() -> None:
    code = "import sys, suite.optim as o; assert o.list_optimizers(); assert 'torch' not in sys.modules"
    python(code)


def test_importing_everything_loads_torch_and_nothing_heavier() -> None:
    heavy = [
        "lightning",
        "pytorch_lightning",
        "timm",
        "torch_geometric",
        "pytorch_optimizer",
        "pandas",
        "yaml",
        "jsonargparse",
    ]
    code = (
        "import sys, suite.optim as o; [getattr(o, n) for n in o.__all__];"
        "o.build(o.SGD(lr=1), o.build.__globals__['nn'].Linear(2, 2)).step();"
        f"print([m for m in {heavy} if m in sys.modules], [m for m in sys.modules if m.startswith('suite.') and "
        "not m.startswith(('suite.optim', 'suite.fields'))])"
    )
    assert python(code).strip() == "[] []"


def test_unknown_names_show_the_nearest() -> None:
    with pytest.raises(ConfigError, match="did you mean 'adamw'"):
        parse({"name": "adamww", "lr": 1})
    with pytest.raises(ConfigError, match="cannot be imported"):
        parse({"name": "torch.optim.Nothing", "lr": 1})
    with pytest.raises(ConfigError, match="must be named"):
        parse({"lr": 1})


def test_any_torch_class_works_by_its_path_and_refuses_foreign_arguments() -> None:
    optimizer = build({"name": "torch.optim.NAdam", "lr": 0.1, "betas": [0.8, 0.9]}, small_network())
    assert isinstance(optimizer, torch.optim.NAdam) and optimizer.param_groups[0]["betas"] == (0.8, 0.9)
    with pytest.raises(ConfigError, match="no setting 'momentun'"):
        parse({"name": "torch.optim.SGD", "lr": 0.1, "momentun": 0.9})


def test_torchs_two_betas_are_the_rules_two() -> None:
    assert parse({"name": "adam", "lr": 1, "betas": (0.8, 0.9)}) == parse(
        {"name": "adam", "lr": 1, "beta1": 0.8, "beta2": 0.9}
    )
    for spec in ({"name": "sgd"}, {"name": "adam", "beta1": 0.5}):
        with pytest.raises(ConfigError, match="no setting 'betas'"):
            parse({**spec, "lr": 1, "betas": [0.8, 0.9]})


def test_registering_a_name_twice_raises_and_update_stays_the_base_classes() -> None:
    with pytest.raises(ValueError, match="taken"):
        register("sgd")(OptimizerConfig)
    with pytest.raises(TypeError, match="must define rule"):
        type("Wrong", (OptimizerConfig,), {"update": lambda self: None})


@pytest.mark.parametrize("module", ["cautious_sgd", "layerwise"])
def test_recipe_of_the_documentation_followed_literally(
    module: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    page = (ROOT / "docs" / "optimizers.md").read_text(encoding="utf-8")
    match = re.search(rf"```python\n# {module}\.py\n(.*?class (\w+)\(.*?)```", page, re.DOTALL)
    assert match
    (tmp_path / f"{module}.py").write_text(match[1], encoding="utf-8")
    monkeypatch.syspath_prepend(tmp_path)
    path = f"{module}.{match[2]}"
    losses = {}
    for lr in (0.01, 0.1, 0.3):
        network = small_network()
        optimizer = build({"name": path, "lr": lr}, network)
        for _ in range(10):
            optimizer.zero_grad()
            loss = sum((p - 1).square().sum() for p in network.parameters())
            assert isinstance(loss, torch.Tensor)
            loss.backward()
            optimizer.step()
        losses[lr] = loss.item()
    assert losses[0.1] < losses[0.01]
    registry._registered.pop("cautious_sgd", None)


def test_an_entry_point_is_a_plug_in(monkeypatch: pytest.MonkeyPatch) -> None:
    point = importlib.metadata.EntryPoint("test_entry", "suite.optim.rules.sgd:SGD", registry.ENTRY_POINTS)
    monkeypatch.setattr(registry, "_entry_points", lambda: (point,))
    assert config_class("test_entry").__name__ == "SGD" and "test_entry" in list_optimizers()


def test_a_missing_library_is_one_sentence(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(ConfigError, match=r"pip install 'adam-sgd-gap\[optimizers\]'"):
        parse({"name": "soap", "lr": 0.1})


def test_evaluation_weights_of_schedule_free_and_of_all_others() -> None:
    pytest.importorskip("pytorch_optimizer")
    spec = {"name": "hybrid", "schedule_free": {"on": ["head"], "lr": 0.1}, "sgd": {"lr": 0.1}}
    network = small_network()
    optimizer = build(spec, network)
    for _ in range(5):
        for p in network.parameters():
            p.grad = torch.randn_like(p)
        optimizer.step()
    head, hidden = network[4].weight, network[2].weight  # type: ignore[index]
    training = head.detach().clone(), hidden.detach().clone()
    with evaluation_weights(optimizer):
        assert not torch.allclose(head, training[0]) and torch.equal(hidden, training[1])
    torch.testing.assert_close(head.detach(), training[0])
    with evaluation_weights(build({"name": "sgd", "lr": 1}, network)):
        pass


def test_schedulers_and_gradient_scaling_reach_every_part() -> None:
    network = small_network()
    optimizer = build(HYBRID, network)
    assert isinstance(optimizer, CompositeOptimizer)
    scheduler = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda step: 0.5**step)
    scaler = torch.amp.GradScaler("cpu", init_scale=8.0)
    plain = small_network()
    expected = build(HYBRID, plain)
    for step in range(3):
        optimizer.zero_grad()
        expected.zero_grad()
        scaler.scale(sum((p - 1).square().sum() for p in network.parameters())).backward()  # type: ignore[arg-type]
        torch.as_tensor(sum((p - 1).square().sum() for p in plain.parameters())).backward()
        scaler.step(optimizer)
        scaler.update()
        scheduler.step()
        expected.step()
        for group in expected.param_groups:
            group["lr"] = group["initial_lr"] * 0.5 ** (step + 1)
    assert [g["lr"] for part in optimizer.parts for g in part.param_groups] == pytest.approx([1e-2 / 8, 0.3 / 8])
    for p, q in zip(network.parameters(), plain.parameters(), strict=True):
        torch.testing.assert_close(p, q)


def test_bfloat16_autocast_and_a_compiled_network_train() -> None:
    network = nn.Sequential(nn.Linear(8, 16), nn.LayerNorm(16), nn.Linear(16, 4))
    compiled = torch.compile(network, backend="eager")
    optimizer = build({"name": "sgd_quantile_clip", "lr": 0.05, "momentum": 0.5}, compiled)  # type: ignore[arg-type]
    x, losses = torch.randn(32, 8, generator=torch.Generator().manual_seed(0)), []
    for _ in range(10):
        with torch.autocast("cpu", torch.bfloat16):
            loss = (compiled(x) - 1).float().square().mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    assert losses[-1] < losses[0]


def steps_of(spec: dict[str, Any], **settings: Any) -> torch.Tensor:
    network = nn.Sequential(nn.Linear(300, 300), nn.Linear(300, 7))
    for p in network.parameters():
        p.data = torch.sin(torch.arange(p.numel()).float()).view_as(p)
    optimizer = build(spec, network, **settings)
    for k in range(4):
        for p in network.parameters():
            p.grad = torch.cos(torch.arange(p.numel()) * (k + 1.0)).view_as(p)
        for group in optimizer.param_groups:
            group["lr"] = group["initial_lr"] * (1 - k / 4)
        optimizer.step()
    return torch.cat([p.detach().flatten() for p in network.parameters()])


@pytest.mark.skipif(shutil.which("g++") is None, reason="torch.compile needs a C++ compiler on a CPU")
@pytest.mark.filterwarnings("error::UserWarning:suite")
def test_fused_arithmetic_equals_plain() -> None:
    spec = {"name": "nsgd", "lr": 0.1, "momentum": 0.9, "weight_decay": 0.1, "decay": "independent"}
    torch.testing.assert_close(steps_of(spec, compiled=True), steps_of(spec, compiled=False))


def test_arithmetic_that_cannot_be_fused_runs_as_it_stands(monkeypatch: pytest.MonkeyPatch) -> None:
    def failing(*_: Any, **__: Any) -> Any:
        def run(*_: Any) -> None:
            raise torch._dynamo.exc.TorchDynamoException("no compiler")

        return run

    spec = {"name": "ema_sign", "lr": 0.1}
    expected = steps_of(spec, compiled=False)
    monkeypatch.setattr(torch, "compile", failing)
    kernels._fused.cache_clear()
    with pytest.warns(UserWarning, match="EMASign runs without fused arithmetic, because torch.compile failed"):
        found = steps_of(spec, compiled=True)
    kernels._fused.cache_clear()
    assert torch.equal(found, expected)


@pytest.mark.parametrize("name", ["signum"])
def test_a_compiled_step_equals_the_plain_one(name: str) -> None:
    results = []
    for wrap in (lambda f: f, lambda f: torch.compile(f, backend="eager")):
        network = small_network()
        optimizer = build({"name": name, "lr": 0.1, "momentum": 0.9}, network)
        step = wrap(optimizer.step)
        for k in range(4):
            for p in network.parameters():
                p.grad = torch.cos(torch.arange(p.numel()) * (k + 1.0)).view_as(p)
            step()
        results.append(torch.cat([p.detach().flatten() for p in network.parameters()]))
    torch.testing.assert_close(*results)


DISTRIBUTED: list[dict[str, Any]] = [
    HYBRID,
    {"name": "sgd_quantile_clip", "lr": 0.1, "momentum": 0.5},
    {"name": "nsgd", "lr": 0.1},
    {"name": "muon", "lr": 0.02, "adam": {"lr": 0.01}},
]


def gradients_of(network: nn.Module, batch: torch.Tensor) -> None:
    network.zero_grad()
    network(batch).square().mean().backward()


SHARDED: list[dict[str, Any]] = [
    {"name": "signum", "lr": 0.01, "momentum": 0.9},
    {"name": "sgd", "lr": 0.1, "momentum": 0.9},
    {"name": "sgd", "lr": 0.1, "momentum": 0.9, "weight_decay": 0.1, "decay": "independent"},
    {"name": "adam", "lr": 0.01, "beta": 0.9},
    {"name": "adavar", "lr": 0.01},
]
"""Rules that move parameters which FSDP has sharded."""


def plain_network() -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(6, 8), nn.LayerNorm(8), nn.Linear(8, 8), nn.Linear(8, 4, bias=False))


def two_processes(rank: int, folder: str) -> None:
    torch.set_num_threads(1)
    dist.init_process_group("gloo", init_method=f"file://{folder}/rendezvous", rank=rank, world_size=2)
    batches = torch.randn(5, 8, 6, generator=torch.Generator().manual_seed(1))
    found: dict[str, Any] = {"ddp": [], "fsdp": []}
    for spec in DISTRIBUTED:
        network = nn.parallel.DistributedDataParallel(plain_network())
        optimizer = build(spec, network)
        for batch in batches:
            gradients_of(network, batch[rank * 4 : rank * 4 + 4])
            optimizer.step()
        found["ddp"].append([p.detach().clone() for p in network.parameters()])
    from torch.distributed.device_mesh import init_device_mesh
    from torch.distributed.fsdp import fully_shard

    mesh = init_device_mesh("cpu", (2,))
    for spec in SHARDED:
        network = plain_network()
        fully_shard(network, mesh=mesh)
        optimizer = build(spec, network)
        for batch in batches:
            gradients_of(network, batch[rank * 4 : rank * 4 + 4])
            optimizer.step()
        found["fsdp"].append([p.full_tensor().detach().clone() for p in network.parameters()])  # type: ignore[attr-defined]
    found["refused"] = []
    for spec in DISTRIBUTED[1:]:
        try:
            build(spec, network)
        except ConfigError as error:
            found["refused"].append(str(error))
    if rank == 0:
        torch.save(found, f"{folder}/found.pt")
    dist.destroy_process_group()


@pytest.mark.skipif(not dist.is_available(), reason="torch was built without distributed")
def test_two_processes_equal_one_under_ddp_and_fsdp(tmp_path: Path) -> None:
    torch.multiprocessing.spawn(two_processes, args=(str(tmp_path),), nprocs=2)
    found = torch.load(tmp_path / "found.pt")
    batches = torch.randn(5, 8, 6, generator=torch.Generator().manual_seed(1))
    for spec, parameters in zip([*DISTRIBUTED, *SHARDED], [*found["ddp"], *found["fsdp"]], strict=True):
        network = plain_network()
        optimizer = build(spec, network)
        for batch in batches:
            gradients_of(network, batch)
            optimizer.step()
        for p, q in zip(network.parameters(), parameters, strict=True):
            torch.testing.assert_close(p.detach(), q, rtol=2e-3, atol=2e-3)
    assert len(found["refused"]) == 3 and all("sharded over devices" in message for message in found["refused"])


def test_the_example_of_another_project_runs_without_lightning(tmp_path: Path) -> None:
    environment = tmp_path / "environment"
    venv.create(environment, symlinks=True)
    (site,) = environment.glob("lib/python*/site-packages")
    # The fresh environment sees torch and what torch needs, and nothing else that is installed here.
    for name in torch_and_its_requirements():
        distribution = importlib.metadata.distribution(name)
        for top in {path.parts[0] for path in distribution.files or []} - {"..", "__pycache__"}:
            source = Path(str(distribution.locate_file(top)))
            if source.exists() and not (site / top).exists():
                (site / top).symlink_to(source)
    (site / "suite").symlink_to(ROOT / "suite")
    script = ROOT / "examples" / "hybrid_optimizer.py"
    interpreter = environment / "bin" / "python"
    absent = subprocess.run([interpreter, "-c", "import lightning"], capture_output=True, timeout=60)
    assert absent.returncode != 0
    done = subprocess.run([interpreter, script], cwd=tmp_path, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    assert "5 parameters restored" in done.stdout


def torch_and_its_requirements() -> set[str]:
    found: set[str] = set()
    queue = ["torch"]
    while queue:
        name = queue.pop()
        try:
            requirements = importlib.metadata.requires(name) or []
        except importlib.metadata.PackageNotFoundError:
            continue
        found.add(name)
        names = [re.split(r"[ ;<>=!\[(~]", line)[0] for line in requirements if "extra ==" not in line]
        queue += [n for n in names if n not in found]
    return found
