"""The samples of each step, against a slow and obvious version; what a plan refuses."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from suite.training.batches import BatchPlan, _index_type


def plan(**settings: Any) -> BatchPlan:
    return BatchPlan(**{"samples": 20, "batch_size": 6, "steps": 9, "seed": 3, **settings})


def global_batches(**settings: Any) -> list[list[int]]:
    return [plan(**settings).indices(step).reshape(-1).tolist() for step in range(9)]


def test_an_epoch_is_a_permutation_without_what_is_left_over() -> None:
    expected = []
    for epoch in range(3):
        order = np.arange(20, dtype=np.uint32)
        np.random.default_rng([3, epoch]).shuffle(order)
        expected += [order[first : first + 6].tolist() for first in (0, 6, 12)]
    assert global_batches() == expected and plan().steps_per_epoch == 3
    assert global_batches(seed=4) != expected


def test_without_shuffling_samples_come_as_they_are_stored() -> None:
    assert global_batches(shuffle=False)[:4] == [[0, 1, 2, 3, 4, 5], [*range(6, 12)], [*range(12, 18)], [*range(6)]]
    second = plan(shuffle=False, world_size=2, micro_batch=1, rank=1)
    assert second.accumulation == 3 and second.indices(1).tolist() == [[9], [10], [11]]
    assert second.indices(1).dtype == plan().indices(1).dtype == np.int64


@pytest.mark.parametrize("cut", [{}, {"micro_batch": 2}, {"world_size": 2}, {"world_size": 3, "micro_batch": 1}])
def test_devices_and_accumulation_divide_a_batch(cut: dict[str, int]) -> None:
    ranks = [plan(**cut, rank=rank) for rank in range(cut.get("world_size", 1))]
    micro = cut.get("micro_batch", 6 // len(ranks))
    assert {one.indices(0).shape for one in ranks} == {(6 // len(ranks) // micro, micro)}
    assert {one.accumulation for one in ranks} == {6 // len(ranks) // micro}
    for step, whole in enumerate(global_batches()):
        assert np.concatenate([one.indices(step).reshape(-1) for one in ranks]).tolist() == whole


@pytest.mark.parametrize("window", [1, 2, 3, 5])
def test_samples_are_permuted_within_windows_of_shards(window: int) -> None:
    shards, expected = (5, 9, 0, 6), []
    starts = [0, 5, 14, 14]
    for epoch in range(3):
        rng = np.random.default_rng([3, epoch])
        order = []
        drawn = rng.permutation(4).tolist()
        for first in range(0, 4, window):
            together = [starts[s] + i for s in drawn[first : first + window] for i in range(shards[s])]
            rng.shuffle(samples := np.array(together, dtype=np.uint32))
            order += samples.tolist()
        assert sorted(order) == list(range(20))
        expected += [order[first : first + 6] for first in (0, 6, 12)]
    assert global_batches(shards=shards, shard_window=window) == expected
    apart = plan(shards=shards, shard_window=window, world_size=2, rank=1)
    assert apart.indices(4).reshape(-1).tolist() == expected[4][3:]


def test_one_shard_at_a_time_unless_told() -> None:
    assert global_batches(shards=(8, 12)) == global_batches(shards=(8, 12), shard_window=1)


def test_an_order_takes_four_bytes_per_sample_and_cannot_be_changed() -> None:
    for order in (plan()._order(0), plan(shards=(8, 12))._order(0)):
        assert order.dtype == np.uint32
        with pytest.raises(ValueError, match="read-only"):
            order[0] = 1
    assert _index_type(2**32) is np.uint32 and _index_type(2**32 + 1) is np.int64


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"shards": (10, 9)}, "must hold the 20 training samples, .* got 19 samples in windows of 1;"),
        ({"shards": (10, 11)}, "got 21 samples in windows of 1;"),
        ({"shards": (10, 10), "shard_window": 0}, "got 20 samples in windows of 0;"),
        ({"micro_batch": 4}, "got batch_size 6, micro_batch 4, devices 1, accumulation 1.5;"),
        ({"world_size": 4}, "got batch_size 6, micro_batch 1, devices 4, accumulation 1.5;"),
        ({"world_size": 8}, "got batch_size 6, micro_batch 0, devices 8, accumulation 6;"),
        ({"world_size": 0}, "got batch_size 6, micro_batch 6, devices 0, accumulation 6;"),
        ({"world_size": 3, "micro_batch": 4}, "micro_batch 4, devices 3, accumulation 0.5;"),
        ({"samples": 5}, "must not exceed the 5 training samples, got 6;"),
    ],
)
def test_what_does_not_fit_is_refused(settings: dict[str, Any], words: str) -> None:
    with pytest.raises(ValueError, match=words):
        plan(**settings)


def test_a_batch_may_be_all_samples() -> None:
    assert sorted(plan(samples=6).indices(0).reshape(-1).tolist()) == list(range(6))
