"""From SMILES or published graphs to a prepared folder of flat arrays.

SMILES are read in chunks of rows, by several processes; each finished chunk is a file, so that after a kill only
unfinished chunks are read again. The content does not depend on the number of processes. A molecule that cannot be
used is counted and named, in the manifest and in one warning.
"""

from __future__ import annotations

import hashlib
import json
import logging
import multiprocessing
import os
import shutil
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from tasks.kinds.array_files import describe_arrays, read_manifest, verify_arrays, write_manifest
from tasks.kinds.prepared_folder import prepare_folder
from tasks.zinc.graph_files import SPLITS, Graphs, join_graphs, offsets
from tasks.zinc.molecules import UnusableMolecule, molecule_graph, parse_smiles
from tasks.zinc.published import PublishedGraphs
from tasks.zinc.smiles_files import Row, SmilesFiles
from tasks.zinc.target import ZINC250K, properties

SCHEMA = 1
"""Raised whenever prepared content would change."""

CHUNK_ROWS = 1000
SERIAL_CHUNKS = 2
"""So few chunks are done before worker processes would have started."""

EXAMPLES = 20
"""At most so many unusable molecules are named."""

SPLIT_SEED = 0

_log = logging.getLogger(__name__)


class RowSource:
    """What `prepare_molecules` asks of a source of SMILES (`SmilesFiles`, `SampleMolecules`)."""

    label: str

    def identity(self) -> dict[str, Any]:
        """Everything that decides the rows."""
        raise NotImplementedError

    def rows(self) -> list[Row]:
        """All molecules, in order."""
        raise NotImplementedError


@dataclass(frozen=True, kw_only=True)
class MoleculeSet:
    """Which molecules become which prepared folder; equal values share one.

    Attributes:
        source: SMILES or published graphs.
        val_share: share of the molecules, drawn at random by a fixed seed, that is the validation split; published
            graphs have splits of their own.
        max_molecules: use only the first so many molecules of the source (of each split, if published); None: all.
    """

    source: RowSource | SmilesFiles | PublishedGraphs
    val_share: float
    max_molecules: int | None

    def identity(self) -> dict[str, Any]:
        """Everything that decides the prepared content."""
        published = isinstance(self.source, PublishedGraphs)
        return {
            "schema": SCHEMA,
            "source": self.source.identity(),
            "max_molecules": self.max_molecules,
        } | ({} if published else {"val_share": self.val_share, "split_seed": SPLIT_SEED})

    def folder(self, data_dir: Path) -> Path:
        """The final folder; its name ends with a hash of the identity."""
        identity = json.dumps(self.identity(), sort_keys=True).encode()
        return data_dir / f"zinc-{self.source.label}-{hashlib.sha256(identity).hexdigest()[:10]}"


def prepare_molecules(molecules: MoleculeSet, data_dir: Path, *, workers: int) -> tuple[Path, dict[str, Any]]:
    """Make the prepared folder if it is not there yet; safe from several processes at once and after a kill.

    Args:
        molecules: what to prepare.
        data_dir: folder for prepared data.
        workers: processes that read SMILES.

    Returns:
        The folder and its manifest.

    Raises:
        ValueError: the source cannot be used, or an earlier result is damaged; the message says what to change.
    """
    folder = molecules.folder(data_dir)
    prepare_folder(folder, lambda working: _work(molecules, working, workers), goes_on=True)
    shutil.rmtree(folder / "chunks", ignore_errors=True)
    return folder, _manifest(folder)


def _manifest(folder: Path) -> dict[str, Any]:
    return read_manifest(folder, schema=SCHEMA, what="prepared molecules")


def fingerprint(manifest: dict[str, Any]) -> str:
    """Checksum over all arrays: equal content, equal fingerprint."""
    content = [f"{name} {entry['sha256']}" for name, entry in sorted(manifest["arrays"].items())]
    return hashlib.sha256("\n".join(content).encode()).hexdigest()


def verify(folder: Path) -> None:
    """Read all arrays and compare their checksums with the manifest.

    Raises:
        ValueError: a file is not what was prepared; the message names it.
    """
    verify_arrays(folder, _manifest(folder))


def _work(molecules: MoleculeSet, working: Path, workers: int) -> None:
    unusable: dict[str, Any] = {"count": 0, "examples": []}
    if isinstance(molecules.source, PublishedGraphs):
        splits = {split: molecules.source.graphs(split) for split in SPLITS}
        if molecules.max_molecules is not None:
            splits = {s: g.select(np.arange(min(len(g), molecules.max_molecules))) for s, g in splits.items()}
    else:
        rows = molecules.source.rows()[: molecules.max_molecules]
        graphs, problems = _read_rows(rows, working / "chunks", workers)
        named = [f"{rows[i].where} ({rows[i].smiles!r}): {reason}" for i, reason in problems]
        unusable = {"count": len(named), "examples": named[:EXAMPLES]}
        _report(unusable, len(rows), molecules)
        splits = _split(graphs, molecules.val_share)
    arrays = describe_arrays(path for split, graphs in splits.items() for path in graphs.save(working, split))
    manifest = {
        "schema": SCHEMA,
        **molecules.identity(),
        "splits": {
            split: {"graphs": len(g), "nodes": len(g.atoms), "edges": len(g.bonds)} for split, g in splits.items()
        },
        "unusable": unusable,
        "arrays": arrays,
        "tools": {name: metadata.version(name) for name in ("numpy", "rdkit", "networkx")},
    }
    write_manifest(working, manifest)


def _report(unusable: dict[str, Any], rows: int, molecules: MoleculeSet) -> None:
    if not unusable["count"]:
        return
    first = "; ".join(unusable["examples"][:3])
    message = f"{unusable['count']} of {rows} molecules of {molecules.source.label} cannot be used: {first}"
    if unusable["count"] == rows:
        raise ValueError(f"data.source must hold some usable SMILES, but all {message}; correct the file.")
    _log.warning("%s%s.", message, " and others" if unusable["count"] > 3 else "")


def _split(graphs: Graphs, val_share: float) -> dict[str, Graphs]:
    order = np.random.default_rng(SPLIT_SEED).permutation(len(graphs))
    val = round(len(graphs) * val_share)
    if not 0 < val < len(graphs):
        raise ValueError(
            f"Both splits must have a molecule, got {len(graphs)} molecules and data.val_share {val_share:g}; give "
            "more molecules or change data.val_share."
        )
    return {"train": graphs.select(np.sort(order[val:])), "val": graphs.select(np.sort(order[:val]))}


class _Chunk(NamedTuple):
    graphs: Graphs
    problems: list[tuple[int, str]]


def _read_rows(rows: list[Row], folder: Path, workers: int) -> tuple[Graphs, list[tuple[int, str]]]:
    """Graphs of all usable rows, and (row, reason) of the others."""
    if not rows:
        raise ValueError("data.source must hold some molecules, but it has none; point it at other files.")
    folder.mkdir(exist_ok=True)
    graphs, problems = [], []
    with_progress = _progress(len(rows))
    for number, path in enumerate(_chunk_files(rows, folder, workers)):
        chunk = _load_chunk(path)
        graphs.append(chunk.graphs)
        problems += [(number * CHUNK_ROWS + i, reason) for i, reason in chunk.problems]
        with_progress.update(min(CHUNK_ROWS, len(rows) - number * CHUNK_ROWS))
    with_progress.close()
    return join_graphs(graphs), problems


def _progress(rows: int) -> Any:
    from tqdm import tqdm

    return tqdm(total=rows, unit=" molecules", unit_scale=True, desc="Preparing zinc", disable=None)


def _chunk_files(rows: list[Row], folder: Path, workers: int) -> Iterator[Path]:
    """The chunks' files in order, each as soon as it is there."""
    smiles = [row.smiles for row in rows]
    jobs = [
        (folder / f"{first // CHUNK_ROWS:06d}.npz", smiles[first : first + CHUNK_ROWS])
        for first in range(0, len(smiles), CHUNK_ROWS)
    ]
    missing = sum(not path.exists() for path, _ in jobs)
    if workers == 1 or missing <= SERIAL_CHUNKS:
        for path, chunk in jobs:
            yield _make_chunk(path, chunk)
        return
    # Started fresh, not forked: the parent may hold threads of torch, and nothing here imports torch.
    context = multiprocessing.get_context("spawn")
    pool = ProcessPoolExecutor(min(workers, missing), mp_context=context)
    try:
        yield from pool.map(_make_chunk, *zip(*jobs, strict=True))
    except BrokenProcessPool as error:
        raise ValueError(
            f"All {workers} worker processes must live until the molecules are read, but one died (often for lack "
            "of memory); lower data.num_workers and start again, what is done so far is kept."
        ) from error
    finally:
        pool.shutdown(wait=True, cancel_futures=True)


def _make_chunk(path: Path, smiles: list[str]) -> Path:
    """Read some SMILES into a file, unless it is there."""
    if path.exists():
        return path
    chunk = read_chunk(smiles)
    part = path.with_suffix(".part")
    with open(part, "wb") as file:
        np.savez(
            file,
            **{name: getattr(chunk.graphs, name) for name in Graphs.__dataclass_fields__},
            problem_rows=np.array([i for i, _ in chunk.problems], dtype=np.int64),
            problem_reasons=np.array([reason for _, reason in chunk.problems], dtype=np.str_),
        )
        file.flush()
        os.fsync(file.fileno())
    os.replace(part, path)
    return path


def _load_chunk(path: Path) -> _Chunk:
    with np.load(path) as arrays:
        graphs = Graphs(**{name: arrays[name] for name in Graphs.__dataclass_fields__})
        rows, reasons = arrays["problem_rows"].tolist(), arrays["problem_reasons"].tolist()
        return _Chunk(graphs, list(zip(rows, reasons, strict=True)))


def read_chunk(smiles: list[str]) -> _Chunk:
    """Graphs and targets of some SMILES, in this process."""
    from rdkit import rdBase

    graphs, targets, problems = [], [], []
    with rdBase.BlockLogs():
        for i, text in enumerate(smiles):
            try:
                mol = parse_smiles(text)
                graphs.append(molecule_graph(mol))
                targets.append(ZINC250K.target(properties(mol)))
            except UnusableMolecule as error:
                problems.append((i, str(error)))
    nothing = np.zeros(0, dtype=np.uint8)
    return _Chunk(
        Graphs(
            atoms=np.concatenate([nothing, *(g.atoms for g in graphs)]),
            edges=np.concatenate([np.zeros((2, 0), dtype=np.uint16), *(g.edges for g in graphs)], axis=1),
            bonds=np.concatenate([nothing, *(g.bonds for g in graphs)]),
            targets=np.array(targets, dtype=np.float32),
            node_offsets=offsets(np.array([len(g.atoms) for g in graphs], dtype=np.int64)),
            edge_offsets=offsets(np.array([len(g.bonds) for g in graphs], dtype=np.int64)),
        ),
        problems,
    )
