"""Sizes of the papers' data, and batches of such sizes with random content, for who has not the data.

What a step costs depends on sizes alone: vocabularies, classes, lengths, atoms per molecule.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import torch

from suite.training import Data

VOCABULARIES = {"gpt2": 50_257, "gpt-neox": 50_277}
"""Tokenizer -> number of ids."""

CLASSES = {"imagenet21k": 19_167, "imagenet1k_lt": 1_000}
"""Dataset -> number of labels."""

SAMPLES = {"imagenet21k": 13_100_076, "imagenet1k_lt": 10_217, "zinc": 220_011}
"""Dataset -> samples of the training split."""

GENOME_TOKENS = 2_727_938_175
"""Characters of the training split of the human genome."""

MOLECULES, ATOMS, RINGS = 512, 23, 2
"""Molecules that batches are made of; atoms of each, as many as ZINC's have on average; bonds beyond a chain's."""


def paper_facts(task: str, data: Data) -> dict[str, Any]:
    """The facts of a task's data at the papers' size; the toys' are their own.

    Args:
        task: its name.
        data: with the recipe's settings; it need not be open.
    """
    dataset, settings = task.partition("/")[0], vars(data)
    if dataset == "toy":
        data.ensure_open()
        return data.facts()
    facts = dict(data.facts_ahead() or {})
    if dataset in CLASSES:
        return facts | {"classes": CLASSES[dataset]}
    if dataset == "hg38":
        return facts | {"vocab_size": 4 ** settings["kmer"] + 1}
    return facts if dataset == "zinc" else facts | {"vocab_size": VOCABULARIES[settings["tokenizer"]]}


def paper_samples(task: str, data: Data) -> int:
    """Samples of the training split at the papers' size.

    Args:
        task: its name.
        data: with the recipe's settings; it need not be open.
    """
    dataset, settings = task.partition("/")[0], vars(data)
    if dataset == "toy":
        data.ensure_open()
        return data.train_samples
    if dataset in SAMPLES:
        return SAMPLES[dataset]
    if dataset == "hg38":
        tokens = GENOME_TOKENS // settings["kmer"]
    else:
        most = settings["max_tokens"] or type(data).paper_max_tokens  # type: ignore[attr-defined]
        tokens = int(most * (1 - settings["val_share"]))
    return tokens // settings["seq_len"]


def random_batch(facts: dict[str, Any], samples: int, *, seed: int = 0, mixup: bool = False) -> Any:
    """A batch as the task's data would make it, with random content.

    Args:
        facts: see `paper_facts`.
        samples: their number.
        seed: of the content.
        mixup: whether images are mixed.
    """
    random = torch.Generator().manual_seed(seed)
    if "vocab_size" in facts and "seq_len" in facts:
        return torch.randint(facts["vocab_size"], (samples, facts["seq_len"] + 1), generator=random)
    if "classes" in facts:
        return _images(facts, samples, random, mixup=mixup)
    if "atom_types" in facts:
        return _molecules(facts, samples, seed)
    raise ValueError(f"Random batches are tokens, images or molecules, not what has {sorted(facts)}.")


def _images(facts: dict[str, Any], samples: int, random: torch.Generator, *, mixup: bool) -> Any:
    from tasks.kinds.images.batch import ImageBatch

    size = facts["image_size"]
    images = torch.randn(samples, facts["channels"], size, size, generator=random)
    labels = torch.randint(facts["classes"], (samples,), generator=random)
    if not mixup:
        return ImageBatch(images, labels)
    return ImageBatch(images, labels, torch.arange(samples).roll(1), torch.tensor(0.9))


def _molecules(facts: dict[str, Any], samples: int, seed: int) -> Any:
    """Chains of atoms with some more bonds between them."""
    from tasks.zinc.batch import gather_batches
    from tasks.zinc.graph_files import Graphs, offsets
    from tasks.zinc.rrwp import Walks, pair_offsets, rrwp

    random = np.random.default_rng(seed)
    chain = np.stack([np.arange(ATOMS - 1), np.arange(1, ATOMS)])
    closing = [np.array([first, first + 5]) for first in range(0, 6 * RINGS, 6)]
    bonds = np.concatenate([chain, np.stack(closing, axis=1)], axis=1)
    edges = np.concatenate([bonds, bonds[::-1]], axis=1)
    count = edges.shape[1]
    graphs = Graphs(
        atoms=random.integers(facts["atom_types"], size=MOLECULES * ATOMS).astype(np.uint8),
        edges=np.tile(edges, MOLECULES).astype(np.uint16),
        bonds=random.integers(facts["bond_types"], size=MOLECULES * count).astype(np.uint8),
        targets=random.normal(size=MOLECULES).astype(np.float32),
        node_offsets=offsets(np.full(MOLECULES, ATOMS)),
        edge_offsets=offsets(np.full(MOLECULES, count)),
    )
    steps = facts["rrwp_steps"]
    walks = Walks(pair_offsets(graphs), rrwp(graphs, steps)) if steps else None
    return gather_batches(graphs, (np.arange(samples) % MOLECULES)[None], walks)[0]
