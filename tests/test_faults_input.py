"""Input that cannot be, and numbers that go wrong: refused in one sentence, or recorded as what they are."""

from __future__ import annotations

import math
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import yaml
from small_runs import ARGUMENTS, make_trainer, run_task, run_tasks

from suite.cli.main import main
from suite.execution.messages import WorkRequest
from suite.execution.worker import Worker
from suite.records import Store
from tasks.toy.data import NoisyQuadratic
from tasks.toy.quadratic import ToyQuadratic

ROOT = Path(__file__).resolve().parents[1]
SGD = ["--optimizer", "sgd", "--optimizer.lr", "0.1"]
GPT = ["fit", *ARGUMENTS, *SGD, "--data.batch_size", "4", "--data.budget_steps", "4"]
TOY = ["fit", "--task", "toy/quadratic", *SGD, "--data.batch_size", "4", "--trainer.accelerator", "cpu"]
IMAGES = ["fit", "--task", "imagenet1k_lt/simple_vit", *SGD, "--data.batch_size", "4", "--trainer.accelerator", "cpu"]


@pytest.fixture(autouse=True)
def in_a_folder_of_its_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def refused(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> str:
    """The one sentence of a command that is refused."""
    try:
        code = main(arguments)
    except SystemExit as stop:
        code = int(stop.code or 0)
    output, errors = capsys.readouterr()
    said = [line for line in errors.splitlines() if line.startswith("suite: ")]
    assert code in (1, 2) and len(said) == 1 and "Traceback" not in errors + output, errors
    assert not list(Path().rglob("record.json"))
    return said[0]


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        ([*GPT, "--data.batch_size", "-1"], "data.batch_size must be at least 1, got -1."),
        ([*GPT, "--data.seq_len", "0"], "data.seq_len must be at least 1, got 0."),
        (
            [*GPT, "--data.budget_steps", "-3"],
            "data.budget_steps must be at least 1 and at most 1000000000000000, or null, got -3.",
        ),
        ([*GPT, "--data.eval_samples", "0"], "data.eval_samples must be at least 1, or null, got 0."),
        ([*GPT, "--data.num_workers", "-1"], "data.num_workers must be at least 1, or null, got -1."),
        ([*GPT, "--data.val_share", "1.5"], "data.val_share must be above 0 and below 1, got 1.5."),
        ([*GPT, "--data.budget_steps", "9000000000000000000"], "data.budget_steps must be at least 1 and at most 1000"),
        ([*GPT, "--data.val_share", ".nan"], "data.val_share must be a finite number, got nan."),
        ([*GPT, "--data.order_seed", "-1"], "data.order_seed must be at least 0, or null, got -1."),
        ([*GPT, "--data.tokenizer", "nope"], "data.tokenizer must be gpt2"),
        ([*GPT, "--seed_everything", "-1"], "seed_everything must be a whole number from 0"),
        ([*GPT, "--seed_everything", "true"], "seed_everything must be a whole number from 0"),
        ([*GPT, "--model.clip_norm", "-1"], "model.clip_norm must be above 0, or null"),
        ([*GPT, "--model.clip_norm", ".inf"], "model.clip_norm must be a finite number"),
        ([*GPT, "--model.width", "-16"], "model.width must be at least 1, got -16."),
        ([*GPT, "--model.num_heads", "0"], "model.num_heads must be at least 1, got 0."),
        ([*GPT, "--model.num_layers", "-1"], "model.num_layers must be at least 1 and at most 1000, got -1."),
        ([*GPT, "--model.attention", "x"], "attention must be 'sdpa', 'flash_attn', 'math', got 'x'."),
        ([*GPT, "--trainer.precision", "17"], "'bf16-mixed'"),
        ([*GPT, "--trainer.devices", "0"], "trainer.devices must be a number from 1 up, -1 (all there are) or auto"),
        ([*GPT, "--trainer.devices", "-1"], "The trainer refuses its settings"),
        ([*GPT, "--trainer.devices", "8"], "batch_size 4, micro_batch 0, devices 8"),
        ([*GPT, "--trainer.accelerator", "cups"], "invalid accelerator name"),
        ([*TOY, "--ckpt_path", "other.ckpt"], "fit takes no --ckpt_path: a run goes on from its own checkpoint"),
        ([*GPT, "--checkpoint_seconds", "nan"], "checkpoint_seconds must be a finite number, got nan."),
        ([*GPT, "--optimizer.lr", ".nan"], "lr must be a finite number"),
        ([*GPT, "--data.batch_size", "64", "--data.eval_samples", "2", "--trainer.devices", "4"], "got 2 samples of"),
        ([*IMAGES, "--data.cache_gb", ".inf"], "data.cache_gb must be a finite number, got inf."),
        ([*IMAGES, "--data.mixup", ".nan"], "data.mixup must be a finite number, got nan."),
        ([*TOY, "--data.batch_size", "10"], "data.batch_size must be at most 9 with data.noise rows, got 10"),
        ([*TOY, "--data.num_samples", "2"], "batch_size must not exceed the 2 training samples, got 4"),
    ],
    ids=lambda value: " ".join(value[-2:]) if isinstance(value, list) else "",
)
def test_every_impossible_setting_is_one_sentence(
    arguments: list[str], sentence: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert sentence in refused(arguments, capsys)


@pytest.mark.parametrize(
    ("layer", "sentence"),
    [
        ("trainer: 0.5", "trainer must be a mapping from settings to values, got 0.5."),
        ("trainer: null", "trainer must be a mapping from settings to values, got None."),
        ("data: []", "data must be a mapping with class_path and init_args, got '[]'."),
        ("model: {init_args: 3}", "model must be a mapping with class_path and init_args"),
        ("config: [other.yaml]", "l.yaml must hold settings alone, but config names another file"),
        (
            "model: null",
            "suite.training.task.Task is no task that can be trained, because it does not",
        ),
        ("data: {class_path: suite.training.Data}", "suite.training.data.Data is no dataset that can be read"),
        (
            "model: {class_path: tasks.kinds.regression.Regression}",
            "define make_network, inputs; name another",
        ),
        *(
            pytest.param(
                f"model: {{init_args: {{clip_norm: '{digits * '9'}'}}}}",
                f"clip_norm must be a number or null, got '{79 * '9'}.",
                id=f"{digits} digits",
            )
            for digits in (400, 5000)
        ),
    ],
)
def test_every_layer_that_is_none_is_one_sentence(
    layer: str, sentence: str, capsys: pytest.CaptureFixture[str]
) -> None:
    Path("l.yaml").write_text(layer)
    assert sentence in refused([*TOY, "--config", "l.yaml"], capsys)
    assert [path.name for path in Path().iterdir()] == ["l.yaml"]


@pytest.mark.parametrize(
    ("task", "name", "content", "sentence"),
    [
        ("fineweb/gpt", "a.txt", "", "must hold some text"),
        ("fineweb/gpt", "a.jsonl", '{"text": ""}\n', "must hold some text"),
        ("fineweb/gpt", "a.txt", "a few words", "The train split must have at least data.seq_len + 1"),
        ("hg38/gpt", "g.fa", "", "must hold a sequence"),
        ("hg38/gpt", "g.fa", ">c\n", "must hold a sequence, but it has headers alone"),
        ("zinc/gcn", "m.csv", "smiles\n", "must hold some molecules"),
        ("zinc/gcn", "m.csv", "smiles\nC\n", "Both splits must have a molecule, got 1 molecules"),
        ("imagenet1k_lt/simple_vit", "notes", "", "must hold images"),
        ("imagenet1k_lt/simple_vit", "a.tar", "", "Shards without a validation split must be more than"),
    ],
)
def test_every_kind_of_empty_data_is_one_sentence(
    task: str, name: str, content: str, sentence: str, capsys: pytest.CaptureFixture[str]
) -> None:
    for library in {"zinc": ("rdkit", "torch_geometric"), "imagenet1k_lt": ("simplejpeg", "timm")}.get(
        task.partition("/")[0], ()
    ):
        pytest.importorskip(library)
    source = Path("source")
    source.mkdir()
    (source / name).write_text(content)
    arguments = ["prepare", "--task", task, "--data.source", str(source), "--data.batch_size", "4"]
    if task == "fineweb/gpt":
        arguments += ["--data.tokenizer", "byte"]
    assert sentence in refused(arguments, capsys)


def test_a_batch_that_no_run_could_have_stops_the_sweep(capsys: pytest.CaptureFixture[str]) -> None:
    asked = {
        "question": "?", "task": "toy/quadratic", "batch_size": [1, 64],
        "overrides": {"data.noise": "gaussian", "data.num_samples": 60, "trainer.accelerator": "cpu"},
        "optimizers": {"sgd": {"lr": [0.1]}},
    }  # fmt: skip
    Path("s.yaml").write_text(yaml.safe_dump(asked))
    assert "batch_size must not exceed the 60 training samples, got 64" in refused(["sweep", "s.yaml"], capsys)


TINY = {
    "task": "fineweb/gpt", "batch_size": [2], "optimizers": {"sgd": {"lr": [0.1, 0.2]}},
    "overrides": {
        "data.source": "sample", "data.tokenizer": "byte", "data.seq_len": 32, "data.budget_steps": 2,
        "data.eval_samples": 8, "model.num_layers": 1, "model.num_heads": 1, "model.width": 16,
        "trainer.accelerator": "cpu",
    },
}  # fmt: skip


@pytest.mark.parametrize(
    ("overrides", "sentence", "prepared"),
    [
        ({"model.num_heads": 3}, "width must be divisible by 2 x num_heads", False),
        ({"model.width": 10**9}, "fineweb/gpt has no network of these settings", False),
        ({"model.width": 10**6}, "sgd at batch size 2 takes 134,1", True),
        ({"model.num_layers": 10**9}, "model.num_layers must be at least 1 and at most 1000", False),
        ({"trainer.accelerator": "gpu"}, "The trainer refuses its settings: No supported gpu backend", True),
        ({"trainer.strategy": "ddp9"}, "invalid strategy name", True),
        ({"trainer.devices": 3}, "A run of a sweep takes one device", False),
        ({"trainer.num_nodes": 2}, "A run of a sweep takes one device", False),
        ({"trainer.sync_batchnorm": True}, "trainer.sync_batchnorm is not set directly", False),
        ({"model.keep_weights_at": [99]}, "model.keep_weights_at must name steps from 1 to 2", True),
        ({"model.initial": {"run": "0" * 16, "step": 1}}, "can start from another's weights only when", True),
        ({"data.source": None}, "data.source must be given, got null", False),
        ({"data.source": "[a]b"}, "an existing file or folder, got '[a]b'", False),
        ({"data.source": "*.jsonl.gz"}, "an existing file or folder, got '*.jsonl.gz'", False),
        ({"model.clip_norm": "@x"}, "clip_norm must be a number or null, got '@x'", False),
    ],
    ids=str,
)
def test_a_sweep_that_cannot_be_trained_is_refused_and_leaves_nothing(
    overrides: dict[str, Any],
    sentence: str,
    prepared: bool,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    if "trainer.accelerator" in overrides and torch.cuda.is_available():
        pytest.skip("there is a GPU here")
    monkeypatch.setattr("suite.execution.launchers.local.WorkerProcess", None)  # no worker is asked
    Path("s.yaml").write_text(yaml.safe_dump({**TINY, "overrides": {**TINY["overrides"], **overrides}}))
    for more in (["--dry-run"], []) if "model.num_heads" in overrides else (["--dry-run"],):
        assert sentence in refused(["sweep", "s.yaml", *more], capsys)
        assert {path.name for path in Path().iterdir()} == {"s.yaml", *(["data"] if prepared else [])}


def test_the_last_value_of_a_grid_is_looked_at_before_the_data(capsys: pytest.CaptureFixture[str]) -> None:
    asked = {**TINY, "optimizers": {"sgd": {"lr": [0.1, 0.2], "momentum": [0.5, 0.9, 1.5]}}}
    Path("s.yaml").write_text(yaml.safe_dump(asked))
    assert "momentum must be at least 0 and below 1, got 1.5" in refused(["sweep", "s.yaml"], capsys)
    assert [path.name for path in Path().iterdir()] == ["s.yaml"]


def test_a_sweep_whose_worker_fails_leaves_nothing(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("suite.execution.launching.WORKER_COMMAND", [sys.executable, "-c", "print('no'); exit(3)"])
    Path("s.yaml").write_text(yaml.safe_dump({**TINY, "task": "toy/quadratic", "overrides": {"data.budget_steps": 2}}))
    for more in (["--dry-run"], []):
        said = refused(["sweep", "s.yaml", "--workers", "1", *more], capsys)
        assert "sgd at batch size 2 fails at once: its worker ended with exit code 3" in said
        assert [path.name for path in Path().iterdir()] == ["s.yaml"]


def test_a_store_that_is_a_file_is_refused_before_anything_is_measured(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("suite.execution.launching.WORKER_COMMAND", None)
    Path("s.yaml").write_text(yaml.safe_dump({**TINY, "task": "toy/quadratic", "overrides": {"data.budget_steps": 2}}))
    Path("runs.zip").write_text("a file")
    for command in ("sweep", "status", "gap", "report"):
        said = refused([command, "s.yaml", "--store", "runs.zip"], capsys)
        assert said == "suite: The store runs.zip must be a folder, but it is none; give another --store."
    assert "The store runs.zip must be a folder" in refused([*TOY, "--store", "runs.zip"], capsys)
    assert Path("runs.zip").read_text() == "a file"


def test_a_fault_of_the_suite_in_a_measurement_ends_the_sweep_as_one(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tempfile.tempdir", str(Path.cwd()))
    monkeypatch.setattr(Worker, "measure", {}.__getitem__)  # a mapping from requests is no measurement
    asked = WorkRequest(do="measure", configs=[{}])
    event = Worker.answer(Worker.__new__(Worker), asked)
    (file,) = Path().glob("suite-failed-*.txt")
    assert "worker.py" in file.read_text() and f"please report it, with {file.resolve()}" in event.error
    assert event.code == 70
    file.unlink()
    answer = f"print({event.to_json()!r}, flush=True); import time; time.sleep(99)"
    monkeypatch.setattr("suite.execution.launching.WORKER_COMMAND", [sys.executable, "-c", answer])
    Path("s.yaml").write_text(yaml.safe_dump({**TINY, "task": "toy/quadratic", "overrides": {"data.budget_steps": 2}}))
    for more in (["--dry-run"], []):
        assert main(["sweep", "s.yaml", "--workers", "1", *more]) == 70
        said = [line for line in capsys.readouterr().err.splitlines() if line.startswith("suite: ")]
        assert len(said) == 1 and "fails at once: The suite itself has failed (TypeError: unhashable" in said[0]
        assert [path.name for path in Path().iterdir()] == ["s.yaml"]


# Numbers that go wrong under way.


class Poisoned(NoisyQuadratic):
    """Noise that is not a number from some sample on."""

    def __init__(self, poison: float, first: int = 40) -> None:
        super().__init__(batch_size=4, noise="gaussian", sigma=1e-3, budget_steps=20)
        self.poison = poison
        self.first = first

    def gather(self, split: str, indices: np.ndarray) -> torch.Tensor:
        noise = super().gather(split, indices)
        if split == "train":
            noise[torch.from_numpy(indices >= self.first)] = self.poison
        return noise


def config_of(spec: dict[str, Any]) -> dict[str, Any]:
    return {"seed_everything": 42, "model": {"init_args": {"optimizer": spec}}, "data": {}, "trainer": {}}


def trained(store: Store, data: NoisyQuadratic, spec: dict[str, Any], **model: Any) -> dict[str, Any]:
    task = ToyQuadratic(optimizer=spec, **model)
    return run_task(task, data, make_trainer(), config=config_of(spec), store=store).record


@pytest.mark.parametrize("poison", [math.nan, math.inf, -math.inf])
def test_poisoned_data_is_a_divergence(tmp_path: Path, poison: float) -> None:
    store = Store(tmp_path)
    spec = {"name": "sgd", "lr": 1e-5}
    record = trained(store, Poisoned(poison), spec)
    losses = store.curves(record["run_id"])["train_loss"].to_pylist()
    assert record["status"] == "diverged" and record["final"] == {} and record["metrics"] == {}
    assert 10 <= record["diverged_at"] <= 11 and len(losses) == record["diverged_at"] + 1
    assert all(map(math.isfinite, losses[:-1])) and not math.isfinite(losses[-1])
    assert [found["run_id"] for found in store.records()] == [record["run_id"]]


def test_an_exploding_run_leaves_the_rest_of_its_pack_alone(tmp_path: Path) -> None:
    specs = [{"name": "sgd", "lr": lr, "momentum": 0.9} for lr in (1e-5, 1e20)]
    tasks = [ToyQuadratic(optimizer=spec, clip_norm=None) for spec in specs]
    data = Poisoned(0.0)
    outcomes = run_tasks(tasks, data, make_trainer(), configs=list(map(config_of, specs)), store=Store(tmp_path))
    calm, wild = (outcome.record for outcome in outcomes)
    assert calm["status"] == "finished" and wild["status"] == "diverged" and wild["diverged_at"] < 10
    alone = trained(Store(tmp_path / "alone"), Poisoned(0.0), specs[0], clip_norm=None)
    assert calm["final"]["ema"] == pytest.approx(alone["final"]["ema"], rel=1e-5)


def test_a_sweep_in_which_all_diverges_ends_and_says_so(
    capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PYTHONPATH", str(ROOT))  # for the worker, which is started here
    asked = {
        "question": "?", "task": "toy/quadratic", "batch_size": [1], "optimizers": {
            "sgd": {"lr": [1e20, 1e21], "momentum": 0.9}, "adam": {"lr": [1e30], "beta": 0.9},
        },
        "overrides": {
            "data.budget_steps": 20, "data.noise": "gaussian", "model.clip_norm": None, "trainer.accelerator": "cpu",
        },
    }  # fmt: skip
    Path("s.yaml").write_text(yaml.safe_dump(asked))
    assert main(["sweep", "s.yaml", "--pack", "off", "--compile", "off", "--workers", "1"]) == 0
    assert "3 diverged" in capfd.readouterr().err
    assert main(["gap", "s.yaml"]) == 0
    table = capfd.readouterr().out
    assert "both diverged" in table and "every setting of Adam and SGD diverged" in table and "lr 1e" not in table
    assert main(["report", "s.yaml", "--looks", "page"]) == 0
    page = Path(capfd.readouterr().out.strip().removeprefix("Report: ")).read_text()
    assert "both diverged" in page and "3 diverged" in page
