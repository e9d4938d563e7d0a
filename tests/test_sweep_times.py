"""Half-lives and time scales as axes: the runs are those of the values written by hand."""

from __future__ import annotations

import hashlib
import math
from pathlib import Path
from typing import Any

import pytest
import yaml
from law_records import write_laws

from suite.analysis.comparison import compare_plan
from suite.analysis.words import format_setting, setting_title
from suite.execution.runs import Runs
from suite.records.tuning import setting_of
from suite.sweep import Plan, RunSpec, read_spec
from suite.sweep.time_scales import settled, with_times
from suite.training.data import Data

ROOT = Path(__file__).resolve().parents[1]


def identify(run: RunSpec) -> tuple[str, int]:
    return hashlib.sha256(repr((sorted(run.settings.items()), run.batch_size)).encode()).hexdigest()[:16], 10


def spec_of(path: Path, optimizers: dict[str, Any], **others: Any) -> Any:
    content = {"task": "fineweb/gpt", "batch_size": [1, 16], "optimizers": optimizers, **others}
    path.write_text(yaml.safe_dump(content))
    return read_spec(path)


@pytest.mark.parametrize(
    ("file", "tokens", "half_lives"),
    [
        ("paper4/laptop/figure1.yaml", 64, [2000, 10000, 50000]),
        ("paper4/figure1.yaml", 512, [1e6, 3.16e6, 1e7, 3.16e7, 1e8]),
    ],
)
def test_half_lives_make_the_runs_of_the_papers_lists(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, file: str, tokens: int, half_lives: Any
) -> None:
    def ensure_open(self: Data) -> str:
        self.fingerprint, self.train_samples, self.val_samples = "0" * 16, 50_000_000, 10_000
        return self.fingerprint

    monkeypatch.setattr(Data, "ensure_open", ensure_open)
    monkeypatch.chdir(ROOT)
    by_hand = yaml.safe_load((ROOT / "configs" / "sweeps" / file).read_text())
    adam = by_hand["optimizers"]["adam"]
    sizes = by_hand["batch_size"][:3]
    ids = []
    for beta2 in (adam["beta2"], {"half_life_tokens": half_lives}):
        changes: dict[str, Any] = {
            "batch_size": sizes,
            "optimizers": {"adam": {**adam, "lr": 0.001, "beta1": 0.9, "beta2": beta2}},
        }
        changes |= {"published": [], "extend_edges": 0, "extend_axes": ["lr"]}
        (tmp_path / "s.yaml").write_text(yaml.safe_dump({**by_hand, **changes}))
        spec = read_spec(tmp_path / "s.yaml")
        runs = Runs(spec)
        assert runs.tokens_per_sample("") == tokens
        ids.append([run.run_id for run in Plan(spec, runs.identify, runs.accept, runs.tokens_per_sample).runs])
    assert ids[0] == ids[1] and len(ids[0]) >= 9


def test_a_half_life_is_the_axis_and_grows_as_one(tmp_path: Path) -> None:
    optimizers = {"adam": {"lr": [0.1], "beta1": 0.9, "beta2": {"half_life_tokens": [1000, 4000]}}}
    spec = spec_of(tmp_path / "s.yaml", optimizers, extend_edges=1, extend_axes=["beta2"])
    plan = Plan(spec, identify, tokens=lambda panel: 8)
    group = plan.groups[1]
    assert group.axes["beta2.half_life_tokens"].values == (1000, 4000)
    assert group.runs[0].axes == {"lr": 0.1, "beta2.half_life_tokens": 1000}
    assert [run.settings["beta2"] for run in group.runs] == [0.915099, 0.978063]  # 2^(-128/1000), 2^(-128/4000)
    wider = group.axes["beta2.half_life_tokens"].extended("high")
    assert wider is not None and wider.values == (1000, 4000, 16000.0)
    best = {"lr": 0.1, "beta2.half_life_tokens": 4000}
    (grown,) = plan._grow(group, best, alone=False)
    assert grown.settings["beta2"] == pytest.approx(2 ** (-128 / 16000), abs=1e-6)
    records = [run.as_record() for run in [*plan.runs, grown]]
    again = Plan(spec, identify, tokens=lambda panel: 8)
    again.remember(records)
    assert [run.run_id for run in again.runs] == [record["run_id"] for record in records]


def test_weight_decay_by_its_time_scale() -> None:
    adamw = {"name": "adamw", "lr": 0.01, "weight_decay.time_scale_tokens": 1e6}
    values = settled(adamw, batch_size=16, tokens_per_sample=64)
    assert values == {"name": "adamw", "lr": 0.01, "weight_decay": 0.1024}  # 1024 / (1e6 * 0.01)
    # The weights shrink by e in as many steps as take so many tokens.
    assert (1 - 0.01 * values["weight_decay"]) ** (1e6 / 1024) == pytest.approx(math.exp(-1), rel=1e-3)
    independent = {"name": "sgd", "lr": 0.3, "decay": "independent", "weight_decay.time_scale_samples": 4000}
    assert settled(independent, batch_size=16, tokens_per_sample=None)["weight_decay"] == 0.004
    inner = {
        "name": "muon",
        "lr": 0.02,
        "adam.lr": 0.1,
        "adam.name": "adamw",
        "adam.weight_decay.time_scale_samples": 1e3,
    }
    assert settled(inner, batch_size=10, tokens_per_sample=None)["adam.weight_decay"] == 0.1


def test_settings_without_a_time_are_as_they_were() -> None:
    settings = {"lr": [0.1], "beta": {"value": [1]}, "beta2": {"by_batch_size": {1: [0.9]}}}
    assert with_times(settings) == settings
    assert settled({"lr": 0.1, "momentum": 0.9}, batch_size=4, tokens_per_sample=None) == {"lr": 0.1, "momentum": 0.9}
    assert settled({"momentum.half_life_samples": 0}, batch_size=4, tokens_per_sample=None) == {"momentum": 0.0}
    assert settled({"momentum.half_life_samples": 4}, batch_size=4, tokens_per_sample=7) == {"momentum": 0.5}


@pytest.mark.parametrize(
    ("optimizers", "words"),
    [
        ({"sgd": {"lr": {"half_life_tokens": [1]}}}, "must be a half-life of a momentum or beta, got 'lr'"),
        ({"adam": {"lr": 1, "beta2": {"time_scale_tokens": [1]}}}, "must be a time scale of weight_decay"),
        ({"adam": {"lr": 1, "beta2": {"half_life_tokens": [-1]}}}, "from 0 up, got -1"),
        ({"adam": {"lr": 1, "beta2": 0.9, "beta2.half_life_tokens": [1]}}, "beta2 may be given once"),
        ({"sgd": {"lr": 1, "weight_decay": {"time_scale_tokens": [9]}}}, "decoupled or independent, got 'none'"),
        ({"torch.optim.SGD": {"lr": 1, "weight_decay": {"time_scale_tokens": [9]}}}, "give weight_decay itself"),
        ({"adamw": {"lr": 1, "weight_decay": {"time_scale_tokens": [0]}}}, "above 0, got 0"),
    ],
)  # fmt: skip
def test_what_has_no_time_is_refused(tmp_path: Path, optimizers: dict[str, Any], words: str) -> None:
    with pytest.raises(ValueError, match=words):
        Plan(spec_of(tmp_path / "s.yaml", optimizers), identify, tokens=lambda panel: 8)


def test_data_without_tokens_have_samples(tmp_path: Path) -> None:
    tokens = spec_of(tmp_path / "s.yaml", {"sgd": {"lr": 1, "momentum": {"half_life_tokens": [64]}}})
    with pytest.raises(ValueError, match=r"needs data of tokens.*give momentum\.half_life_samples\."):
        Plan(tokens, identify)
    samples = spec_of(tmp_path / "s.yaml", {"sgd": {"lr": 1, "momentum": {"half_life_samples": 64}}})
    assert [run.settings["momentum"] for run in Plan(samples, identify).runs] == [0.989228, 0.840896]


def test_a_time_is_called_what_it_is(tmp_path: Path) -> None:
    setting = setting_of({"lr": 0.1, "beta2.half_life_tokens": 1e6, "weight_decay.time_scale_samples": 500})
    assert format_setting(setting) == "lr 0.1, half-life of beta2 1e6 tokens, time scale of weight decay 500 samples"
    assert setting_title("adam.beta2.half_life_tokens") == "half-life of Adam's beta2 (tokens)"


def test_a_kept_half_life_does_not_move_with_the_batch_size(tmp_path: Path) -> None:
    def loss(panel: str, optimizer: str, size: int, setting: Any, share: float) -> float:
        half_life, rate = setting["beta2.half_life_tokens"], setting["lr"] / (0.01 * size**0.5)
        return 3 + 0.1 * math.log10(half_life / 3000) ** 2 + 0.1 * math.log10(rate) ** 2

    grids = {
        "adam": {"lr": [10 ** (k / 2) for k in range(-6, 3)], "beta2.half_life_tokens": [300.0, 1000, 3000, 1e4, 3e4]}
    }
    laws = compare_plan(*write_laws(tmp_path, loss, panels={"a": {}}, grids=grids, noise=1e-4)).tuned_laws
    row = laws.set_index("quantity").loc["beta2.half_life_tokens"]
    assert (row["rule"], row["judgement"]) == ("kept in tokens", "agrees") and abs(row["exponent"]) < 0.05
