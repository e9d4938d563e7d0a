"""``diagnose``, ``fit --diagnostics`` and what tasks say of their classes."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from small_runs import ADAM, ARGUMENTS, make_data, make_task

from suite.cli.arguments import read_diagnostics, read_request
from suite.cli.main import main
from suite.diagnostics.at_checkpoint import Checkpointed
from suite.diagnostics.catalogue import CATALOGUE, parse
from suite.diagnostics.moment import Moment
from suite.diagnostics.probe import Probe
from suite.records import Store
from tasks.toy.data import NoisyQuadratic, ZipfText
from tasks.toy.quadratic import ToyQuadratic

FIT = [
    *ARGUMENTS,
    "--data.batch_size",
    "4",
    "--data.budget_steps",
    "12",
    "--optimizer",
    "adam",
    "--optimizer.lr",
    "1e-2",
]


@pytest.fixture(scope="module")
def data_dir(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("data")


@pytest.mark.parametrize("optimizer", ["sophia", "sophia_ef"])
def test_the_next_update_may_need_a_second_gradient(optimizer: str, data_dir: Path) -> None:
    at = Checkpointed(make_task({"name": optimizer, "lr": 1e-2}), make_data(data_dir), None, "cpu")
    state = torch.get_rng_state()
    rows = at.measure(parse({"updates": {}, "agreement": {"window": 2}, "sharpness": {"samples": 2}}))
    assert rows.keys and torch.equal(state, torch.get_rng_state())


def test_the_list_has_every_diagnostic(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["diagnose", "--list"]) == 0
    told = capsys.readouterr().out
    assert all(f"{name} " in told for name in CATALOGUE)


def test_names_or_a_mapping_on_the_command_line() -> None:
    assert read_diagnostics("clipping, noise") == {"clipping": {}, "noise": {}}
    assert read_diagnostics("{clipping: {every: 3}}") == {"clipping": {"every": 3}}
    request = read_request([*FIT, "--diagnostics", "clipping"])
    place = request.arguments.index("--model.init_args.diagnostics")
    assert json.loads(request.arguments[place + 1]) == {"clipping": {}}
    with pytest.raises(ValueError, match="did you mean 'clipping'"):
        read_request([*FIT, "--diagnostics", "clippin"])


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (["--diagnostics", "noise"], "--task NAME or --run"),
        (["--run", "0" * 16, "--store", "nowhere"], "has no run"),
        (["--task", "fineweb/gpt", "--diagnostics", "nois"], "did you mean 'noise'"),
    ],
)
def test_impossible_requests_are_refused_in_a_sentence(
    arguments: list[str], sentence: str, capsys: pytest.CaptureFixture[str], data_dir: Path
) -> None:
    settings = (
        [*ARGUMENTS[2:], "--data.batch_size", "4", "--data.data_dir", str(data_dir)] if "--task" in arguments else []
    )
    assert main(["diagnose", *arguments, *settings]) == 2
    assert sentence in capsys.readouterr().err


def test_a_run_and_its_checkpoint_are_diagnosed(
    tmp_path: Path, data_dir: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    places = ["--data.data_dir", str(data_dir), "--store", str(tmp_path)]
    asked = "{updates: {every: 6}, frequency: {samples: 8}, agreement: {window: 2, every: 6}}"
    assert main(["fit", *FIT, *places, "--keep_checkpoint", "--diagnostics", asked]) == 0
    store = Store(tmp_path)
    (record,) = store.records()
    assert record["diagnostics"]["names"] == ["agreement", "frequency", "updates"] and not list(store.foreign_files())
    along = store.diagnostics(record["run_id"]).to_pandas()
    capsys.readouterr()
    file = tmp_path / "found.csv"
    command = ["diagnose", "--run", record["run_id"], "--store", str(tmp_path), "--csv", str(file)]
    assert main([*command, "--diagnostics", asked]) == 0
    import pandas as pd

    found = pd.read_csv(file)
    assert set(found["diagnostic"]) == {"updates", "frequency", "agreement"} and set(found["step"]) == {12}
    # The weights are those that the run ended with, so their loss by frequency is what the run found at its end.
    ours, theirs = (f[(f["quantity"] == "loss") & (f["step"] == 12)]["value"].tolist() for f in (found, along))
    assert ours == pytest.approx(theirs, nan_ok=True)
    assert (
        main(["diagnose", "--run", record["run_id"], "--store", str(tmp_path), "--start", "--diagnostics", "updates"])
        == 0
    )
    assert "head" in capsys.readouterr().out


def test_every_diagnostic_can_be_asked_of_the_start(data_dir: Path) -> None:
    at = Checkpointed(make_task(ADAM), make_data(data_dir), None, "cpu")
    before = {name: p.clone() for name, p in at.task.network.named_parameters()}
    small: dict[str, Any] = {
        "noise": {"gradients": 4, "batch_sizes": [1]}, "agreement": {"window": 2},
        "spectra": {"samples": 1, "nodes": 2}, "smoothness": {"samples": 2, "iterations": 1},
        "sharpness": {"samples": 2}, "frequency": {"samples": 4},
    }  # fmt: skip
    for name in CATALOGUE:
        rows = at.measure(parse({name: small.get(name, {})}))
        assert {key[1] for key in rows.keys} <= {name} and (rows.keys or name == "clipped_coordinates")
    assert all(torch.equal(before[name], p) for name, p in at.task.network.named_parameters())
    assert all(p.grad is None for p in at.task.network.parameters())


def test_the_probe_of_a_quadratic_is_its_hessian(tmp_path: Path) -> None:
    data = NoisyQuadratic(batch_size=4, noise="gaussian", sigma=0.0, budget_steps=3, data_dir=str(tmp_path))
    at = Checkpointed(ToyQuadratic(name="toy/quadratic"), data, None, "cpu")
    hessian = torch.tensor(data.facts()["hessian"])
    probe = Probe.of(Moment(task=at.task, data=data, step=0), 4)
    vector = torch.linspace(-1, 1, 9)
    torch.testing.assert_close(probe.hessian_product(vector), hessian @ vector, rtol=1e-4, atol=1e-2)
    torch.testing.assert_close(probe.gradient(), hessian @ torch.ones(9), rtol=1e-4, atol=1e-2)
    assert float(probe.loss()) == pytest.approx(data.facts()["trivial_loss"], rel=1e-4)
    with pytest.raises(ValueError, match="needs data with classes"):
        at.measure(parse({"frequency": {}}))


def test_second_derivatives_go_around_the_chunked_loss(data_dir: Path) -> None:
    chunked, plain = (
        Checkpointed(make_task(ADAM, loss_chunk=chunk), make_data(data_dir), None, "cpu") for chunk in (8, None)
    )
    products = []
    for at in (chunked, plain):
        torch.nn.init.normal_(at.task.network.head.weight, std=0.1, generator=torch.Generator().manual_seed(0))
        probe = Probe.of(Moment(task=at.task, data=at.data, step=0), 2)
        size = sum(p.numel() for p in probe.parameters.values())
        products.append(probe.hessian_product(torch.ones(size)))
    torch.testing.assert_close(*products)
    assert products[0].abs().sum() > 0 and chunked.task.loss_chunk == 8


def test_losses_of_single_tokens_add_up_and_their_classes_are_counted(data_dir: Path, tmp_path: Path) -> None:
    data = make_data(data_dir)
    at = Checkpointed(make_task(ADAM), data, None, "cpu")
    batch = data.gather("train", np.arange(4))
    losses, classes = at.task.element_losses(batch)
    total, _ = at.task.loss(at.task(batch), batch)
    assert losses.shape == classes.shape == (4, 32) and float(losses.sum()) == pytest.approx(float(total), rel=1e-5)
    counts = data.class_counts()
    assert counts.sum() == len(data.token_files.tokens("train")) and counts.shape == (256,)
    zipf = ZipfText(batch_size=4, vocab_size=32, seq_len=8, budget_steps=1, num_samples=512, data_dir=str(tmp_path))
    zipf.ensure_open()
    counted = zipf.class_counts()
    assert counted.sum() == 512 * 8 and counted[0] == counted.max()
