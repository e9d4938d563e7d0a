"""From SMILES or published graphs to a prepared folder of flat arrays.

SMILES are read in chunks of rows, by several processes; each finished chunk is a file, so that after a kill only
unfinished chunks are read again. The content does not depend on the number of processes. Molecules that cannot be used
are counted and named, in the manifest and in one warning; too many of them are an error (`tasks.kinds.left_out`).
"""

from __future__ import annotations

import hashlib
import logging
import os
import shutil
from collections.abc import Iterator
from importlib import metadata
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from tasks.kinds.array_files import describe_arrays, read_manifest, write_manifest
from tasks.kinds.left_out import allowed
from tasks.kinds.local_files import DamagedSource
from tasks.kinds.prepared_folder import named_by_content, prepare_folder
from tasks.kinds.worker_processes import in_processes
from tasks.zinc.graph_files import SPLITS, Graphs, join_graphs, one_graph
from tasks.zinc.molecules import UnusableMolecule, molecule_graph, parse_smiles
from tasks.zinc.published import PublishedGraphs
from tasks.zinc.sample import SampleMolecules
from tasks.zinc.smiles_files import Row, SmilesFiles
from tasks.zinc.target import target

SCHEMA = 2
"""Raised whenever prepared content would change."""

CHUNK_ROWS = 1000
SERIAL_CHUNKS = 2
"""Up to so many chunks are read in this process, in less time than workers take to start."""

EXAMPLES = 20
"""Largest number of unusable molecules that are named."""

SPLIT_SEED = 0
CHUNKS = "chunks"

_log = logging.getLogger(__name__)


def prepare_molecules(
    source: SmilesFiles | SampleMolecules | PublishedGraphs,
    data_dir: Path,
    *,
    val_share: float,
    max_molecules: int | None,
    workers: int,
) -> tuple[Path, dict[str, Any]]:
    """Make the prepared folder if it is not there yet; safe from several processes at once and after a kill.

    Args:
        source: SMILES or published graphs.
        data_dir: folder for prepared data.
        val_share: share of the molecules, drawn at random by a fixed seed, that is the validation split; published
            graphs have splits of their own.
        max_molecules: use only the first so many molecules of the source (of each split, if published); None: all.
        workers: processes that read SMILES.

    Returns:
        The folder and its manifest.

    Raises:
        ValueError: the source cannot be used, or an earlier result is damaged; the message says what to change.
    """
    identity = {"schema": SCHEMA, "source": source.identity(), "max_molecules": max_molecules}
    if not isinstance(source, PublishedGraphs):
        identity |= {"val_share": val_share, "split_seed": SPLIT_SEED}

    def work(working: Path) -> None:
        unusable: dict[str, Any] = {"count": 0, "examples": []}
        if isinstance(source, PublishedGraphs):
            splits = {split: source.graphs(split) for split in SPLITS}
            if max_molecules is not None:
                splits = {s: g.select(np.arange(min(len(g), max_molecules))) for s, g in splits.items()}
        else:
            rows = source.rows()[:max_molecules]
            graphs, problems = _read_rows(rows, working / CHUNKS, workers)
            named = [f"{rows[i].where} ({rows[i].smiles!r}): {reason}" for i, reason in problems]
            unusable = {"count": len(named), "examples": named[:EXAMPLES]}
            _report(unusable, len(rows), source.label)
            splits = _split(graphs, val_share)
        _write(working, splits, identity, unusable)

    folder = named_by_content(data_dir, f"zinc-{source.label}", identity)
    prepare_folder(folder, work, goes_on=True)
    shutil.rmtree(folder / CHUNKS, ignore_errors=True)
    return folder, read_manifest(folder, schema=SCHEMA, what="prepared molecules")


def _write(working: Path, splits: dict[str, Graphs], identity: dict[str, Any], unusable: dict[str, Any]) -> None:
    arrays = describe_arrays(path for split, graphs in splits.items() for path in graphs.save(working, split))
    sizes = {s: {"graphs": len(g), "nodes": len(g.atoms), "edges": len(g.bonds)} for s, g in splits.items()}
    tools = {name: metadata.version(name) for name in ("numpy", "rdkit", "networkx")}
    write_manifest(working, identity | {"splits": sizes, "unusable": unusable, "arrays": arrays, "tools": tools})


def fingerprint(manifest: dict[str, Any]) -> str:
    """Checksum over all arrays: equal content, equal fingerprint."""
    content = [f"{name} {entry['sha256']}" for name, entry in sorted(manifest["arrays"].items())]
    return hashlib.sha256("\n".join(content).encode()).hexdigest()


def _report(unusable: dict[str, Any], rows: int, label: str) -> None:
    if not unusable["count"]:
        return
    first = "; ".join(unusable["examples"][:3])
    message = f"{unusable['count']} of {rows} molecules of {label} cannot be used: {first}"
    if unusable["count"] == rows:
        raise DamagedSource(f"data.source must hold some usable SMILES, but all {message}; correct the file.")
    if unusable["count"] > allowed(rows):
        raise DamagedSource(f"At most {allowed(rows)} molecules may be left out, but {message}; correct the file.")
    _log.warning("%s%s.", message, " and others" if unusable["count"] > 3 else "")


def _split(graphs: Graphs, val_share: float) -> dict[str, Graphs]:
    order = np.random.default_rng(SPLIT_SEED).permutation(len(graphs))
    val = round(len(graphs) * val_share)
    if not 0 < val < len(graphs):
        raise DamagedSource(
            f"Both splits must have a molecule, got {len(graphs)} molecules and data.val_share {val_share:g}; give "
            "more molecules or change data.val_share."
        )
    return {"train": graphs.select(np.sort(order[val:])), "val": graphs.select(np.sort(order[:val]))}


class _Chunk(NamedTuple):
    graphs: Graphs
    problems: list[tuple[int, str]]


def _read_rows(rows: list[Row], folder: Path, workers: int) -> tuple[Graphs, list[tuple[int, str]]]:
    """Graphs of all usable rows, and (row, reason) of the others."""
    from tqdm import tqdm

    if not rows:
        raise DamagedSource("data.source must hold some molecules, but it has none; point it at other files.")
    folder.mkdir(exist_ok=True)
    graphs, problems = [], []
    with tqdm(total=len(rows), unit=" molecules", unit_scale=True, desc="Preparing zinc", disable=None) as bar:
        for number, path in enumerate(_chunk_files(rows, folder, workers)):
            chunk = _load_chunk(path)
            graphs.append(chunk.graphs)
            problems += [(number * CHUNK_ROWS + i, reason) for i, reason in chunk.problems]
            bar.update(min(CHUNK_ROWS, len(rows) - number * CHUNK_ROWS))
    return join_graphs(graphs), problems


def _chunk_files(rows: list[Row], folder: Path, workers: int) -> Iterator[Path]:
    """The chunks' files in order, each as soon as it is there."""
    smiles = [row.smiles for row in rows]
    jobs = [
        (folder / f"{first // CHUNK_ROWS:06d}.npz", smiles[first : first + CHUNK_ROWS])
        for first in range(0, len(smiles), CHUNK_ROWS)
    ]
    missing = sum(not path.exists() for path, _ in jobs)
    if workers == 1 or missing <= SERIAL_CHUNKS:
        yield from map(_make_chunk, jobs)
    else:
        # Nothing that is imported here imports torch.
        for _, path in in_processes(_make_chunk, jobs, min(workers, missing), until="the molecules are read"):
            yield path


def _make_chunk(job: tuple[Path, list[str]]) -> Path:
    """Read some SMILES into a file, unless it is there."""
    path, smiles = job
    if path.exists():
        return path
    chunk = read_chunk(smiles)
    part = path.with_suffix(".part")
    with open(part, "wb") as file:
        np.savez(
            file,
            **vars(chunk.graphs),
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

    graphs, problems = [], []
    with rdBase.BlockLogs():
        for i, text in enumerate(smiles):
            try:
                mol = parse_smiles(text)
                graphs.append(one_graph(*molecule_graph(mol), target(mol)))
            except UnusableMolecule as error:
                problems.append((i, str(error)))
    return _Chunk(join_graphs(graphs), problems)
