"""The order of samples in shards: every key once per epoch, whatever shares the work, and never far from its shard."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace
from itertools import product
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

pytest.importorskip("simplejpeg")

from image_shards import open_images, write_shards

from suite.training.batches import BatchPlan


@given(
    st.lists(st.integers(0, 20), min_size=1, max_size=12).filter(lambda lengths: sum(lengths) >= 1),
    st.integers(1, 14),
    st.integers(0, 3),
)
def test_an_epoch_is_a_permutation_window_by_window(lengths: list[int], window: int, epoch: int) -> None:
    samples = sum(lengths)
    plan = BatchPlan(
        samples=samples, batch_size=1, steps=99 * samples, seed=5, shards=tuple(lengths), shard_window=window
    )
    order = np.concatenate([plan.indices(step)[0] for step in range(epoch * samples, (epoch + 1) * samples)])
    assert sorted(order) == list(range(samples))
    of_sample = np.repeat(np.arange(len(lengths)), lengths)
    # Shards come in windows: each sample lies in the same window as the rest of its shard.
    changes = [
        len({int(shard) for shard in of_sample[order[:end]]} & {int(shard) for shard in of_sample[order[end:]]})
        for end in range(samples)
    ]
    assert max(changes) <= window


def test_the_order_is_a_function_of_seed_and_epoch() -> None:
    plan = BatchPlan(samples=60, batch_size=6, steps=40, seed=1, shards=(20, 10, 30), shard_window=2)
    epoch = [plan.indices(step).tolist() for step in range(10)]
    assert [plan.indices(step).tolist() for step in reversed(range(10))][::-1] == epoch
    assert [replace(plan, seed=2).indices(step).tolist() for step in range(10)] != epoch
    assert [plan.indices(step).tolist() for step in range(10, 20)] != epoch
    assert [replace(plan, shuffle=False).indices(step)[0, 0] for step in range(3)] == [0, 6, 12]


@pytest.mark.parametrize("change", [{"shards": (20, 10)}, {"shard_window": 0}])
def test_shards_that_do_not_fit_are_refused(change: dict) -> None:
    settings = {"samples": 60, "batch_size": 6, "steps": 4, "seed": 1, "shards": (20, 10, 30), **change}
    with pytest.raises(ValueError, match="shards must hold the 60 training samples"):
        BatchPlan(**settings)


@pytest.mark.parametrize(("ranks", "workers"), [*product((1, 2, 3), (1, 2, 3))])
def test_every_key_comes_once_per_epoch(tmp_path: Path, ranks: int, workers: int) -> None:
    folder = write_shards(tmp_path / "shards")
    data = open_images(
        folder, tmp_path / "data", batch_size=6, num_workers=workers, shuffle_shards=2, budget_epochs=2, mixup=0.2
    )
    data.seed = 3
    seen: list[list[str]] = [[], []]
    images = data.of_split("train")
    read, keys = images.read, []

    def noted(number: int):
        encoded = read(number)
        keys.append(encoded.key)
        return encoded

    images.read = noted  # type: ignore[method-assign]
    for rank in range(ranks):
        plan = data.plan(world_size=ranks, rank=rank)
        for epoch in range(2):
            keys.clear()
            # Read through the loader's own threads, not from the plan.
            data.gather_steps(plan, 4 * epoch, 4 * epoch + 4)
            seen[epoch] += keys
    expected = Counter(images.key(number) for number in range(24))
    assert Counter(seen[0]) == Counter(seen[1]) == expected
    assert set(expected.values()) == {1}


def global_batch(data, ranks: int, step: int) -> list[torch.Tensor]:
    return [
        torch.cat([part[i] for rank in range(ranks) for part in data.gather_steps(
            data.plan(world_size=ranks, rank=rank), step, step + 1)])
        for i in (0, 1)
    ]  # fmt: skip


def test_the_global_batch_does_not_depend_on_ranks_or_accumulation(tmp_path: Path) -> None:
    folder = write_shards(tmp_path / "shards")
    settings = {"batch_size": 12, "random_crop": True, "flip": True, "shuffle_shards": 2}
    data = open_images(folder, tmp_path / "data", **settings)
    expected = global_batch(data, 1, 1)
    for ranks, micro_batch in ((2, None), (3, None), (1, 4), (3, 2)):
        other = open_images(folder, tmp_path / "data", micro_batch=micro_batch, **settings)
        found = global_batch(other, ranks, 1)
        assert all(torch.equal(a, b) for a, b in zip(found, expected, strict=True))


def test_a_run_goes_on_where_it_was(tmp_path: Path) -> None:
    folder = write_shards(tmp_path / "shards")
    settings = {"random_crop": True, "flip": True, "mixup": 0.2, "shuffle_shards": 2, "budget_epochs": 2}
    whole = open_images(folder, tmp_path / "data", block_steps=5, **settings)
    steps = [step for block in whole.blocks(whole.plan(), 0) for step in block]
    assert len(steps) == 12
    resumed = open_images(folder, tmp_path / "data", block_steps=2, num_workers=1, **settings)
    rest = [step for block in resumed.blocks(resumed.plan(), 7) for step in block]
    assert len(rest) == 5
    for step, again in zip(steps[7:], rest, strict=True):
        assert all(torch.equal(a, b) for a, b in zip(step[0], again[0], strict=True))
