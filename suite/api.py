"""Results in Python: runs, curves, tuned points, gaps and verdicts as pandas frames, figures as matplotlib objects.

::

    from suite.api import load

    results = load("runs")  # a store, or an archive: load("results.parquet")
    demo = results.sweep("demo")
    demo.gaps[["batch_size", "relative_gap", "relative_uncertainty", "verdict"]]
    figure = demo.figure("gap")

Nothing here trains, and nothing imports torch. What this module names stays; the rest of the suite may change.
"""

from __future__ import annotations

import functools
import math
import tempfile
import weakref
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

import pandas as pd
from matplotlib.figure import Figure

from suite.analysis.budget_law import crossover_table, law_table
from suite.analysis.caveats import caveats
from suite.analysis.collapse import collapse_table
from suite.analysis.comparison import Comparison, compare_csv, compare_plan
from suite.analysis.critical import critical_sentences
from suite.analysis.curves import LossReader, store_losses
from suite.analysis.figures.style import LOOKS, PAGE, Look, drawn
from suite.analysis.profile import factors_of, profile, scores
from suite.analysis.report.drawings import drawings_of, overall_drawings
from suite.analysis.target import with_target
from suite.records import FINAL_LOSSES, SETTLED, Store
from suite.records.dropped import find_run
from suite.records.restore import restore

__all__ = ["Look", "Results", "SweepResults", "load", "load_csv"]


def load(path: str | Path) -> Results:
    """The results in a store, or in an archive of one.

    Args:
        path: folder of a store (``runs``), or file of an archive (`python -m suite archive`).

    Raises:
        ValueError: there is no such folder or file.
        StoreError: the file is no archive.
    """
    path = Path(path)
    if path.is_dir():
        return Results(Store.existing(path))
    if not path.exists():
        raise ValueError(f"There should be a store or an archive at {path}, but there is nothing.")
    folder = tempfile.TemporaryDirectory(prefix="suite-archive-")
    restored = restore(path, Store(folder.name))
    results = Results(Store(folder.name), restored.problems, name=path)
    weakref.finalize(results, folder.cleanup)
    return results


def load_csv(path: str | Path, *, final_loss: str | None = None) -> SweepResults:
    """The results in a CSV export, as `python -m suite gap --csv` reads it.

    Args:
        path: the file.
        final_loss: which final loss is compared; None: the moving average of the train loss, or what the file has.

    Raises:
        ValueError: the file cannot be read so.
    """
    return SweepResults(compare_csv(path, final_loss=final_loss), lambda run_id: None)


class Results:
    """Everything in a store.

    Args:
        store: the store.
        problems: what could not be read before, as pairs of a name and a reason.
        name: where the results come from; None: the store's folder.
    """

    def __init__(
        self, store: Store, problems: list[tuple[str, str]] | None = None, name: str | Path | None = None
    ) -> None:
        self._store = store
        self._earlier = list(problems or [])
        self._name = store.path if name is None else name

    def __repr__(self) -> str:
        return f"Results({self._name}: {len(self.runs)} runs, {len(self.sweeps)} sweeps)"

    @property
    def problems(self) -> list[tuple[str, str]]:
        """Files that cannot be believed, as pairs of a name and a reason."""
        return [*self._earlier, *self._store.problems]

    @property
    def runs(self) -> pd.DataFrame:
        """One row per record, in the order of run ids.

        Columns: ``run_id``, ``task``, ``optimizer``, ``batch_size``, ``seed``, ``steps``, ``status``, a final loss per
        definition (``final_ema`` and so on), ``diverged_at``, ``parameters``, ``seconds``, ``device``, ``version``,
        ``commit``, ``started``, ``ended``, ``error``; then a column per metric (``val/loss``) and per setting of an
        optimizer (``optimizer.lr``).
        """
        return self._runs.copy()

    @functools.cached_property
    def _runs(self) -> pd.DataFrame:
        rows = [_row(record) for record in self._store.records()]
        return pd.DataFrame(rows, columns=None if rows else list(_row(_EMPTY)))

    @property
    def sweeps(self) -> pd.DataFrame:
        """One row per sweep: name, plan id, question, task, number of runs and of those with a result, final loss."""
        return self._sweeps.copy()

    @functools.cached_property
    def _sweeps(self) -> pd.DataFrame:
        rows = []
        for plan in self._store.latest_plans():
            settled = sum((self._store.record(run["run_id"]) or {}).get("status") in SETTLED for run in plan["runs"])
            row = {key: plan.get(key) for key in ("name", "plan_id", "question", "task")}
            rows.append({**row, "runs": len(plan["runs"]), "with_result": settled, "final_loss": plan["final_loss"]})
        return pd.DataFrame(rows, columns=["name", "plan_id", "question", "task", "runs", "with_result", "final_loss"])

    def sweep(
        self, name: str, *, final_loss: str | None = None, reference: str | None = None, target: float | None = None
    ) -> SweepResults:
        """The results of one sweep.

        Args:
            name: its name or plan id, see ``sweeps``.
            final_loss: definition of the final loss; None: the sweep's own.
            reference: label of the optimizer that the others are compared with; None: Adam, else AdamW, else the first.
            target: loss to which steps are counted; None: the sweep's own.

        Raises:
            ValueError: there is no such sweep, or its runs have no such final loss.
        """
        plans = {plan["plan_id"]: plan for plan in self._store.plans()}
        plans |= {plan["name"]: plan for plan in self._store.latest_plans()}
        if name not in plans:
            names = ", ".join(sorted({plan["name"] for plan in plans.values()})) or "none"
            raise ValueError(f"There is no sweep {name!r} in {self._name}; there are: {names}.")
        if target is not None and not math.isfinite(target):
            raise ValueError(f"target must be a finite loss, got {target!r}.")
        if final_loss is not None and final_loss not in FINAL_LOSSES:
            raise ValueError(f"final_loss must be one of {', '.join(FINAL_LOSSES)}, got {final_loss!r}.")
        read = functools.cache(store_losses(self._store))
        plan = with_target(plans[name], target)
        comparison = compare_plan(self._store, plan, losses=read, final_loss=final_loss, reference=reference)
        return SweepResults(comparison, read)

    def performance_profile(
        self, sweeps: Sequence[str] = (), *, optimizers: Sequence[str] = (), by: Literal["steps", "seconds"] = "steps"
    ) -> pd.DataFrame:
        """The score of every optimizer over the tasks of several sweeps, see `suite.analysis.profile`.

        Args:
            sweeps: their names; none: all.
            optimizers: their labels; none: those on at least half of the workloads.
            by: what is compared, steps to the target loss or seconds of training.

        Returns:
            One row per optimizer: ``score`` with its interval, its ``difference`` to the ``reference``'s, who is
            ``ahead``. ``attrs["profile"]`` is the share of workloads within every factor, ``attrs["factors"]`` the
            factor on every workload.

        Raises:
            ValueError: there is no such sweep or optimizer, or nothing to compare by of that name.
        """
        names = sweeps or list(self.sweeps["name"])
        factors = factors_of({name: self.sweep(name).steps_to_target for name in names}, optimizers, by)
        table = scores(factors)
        table.attrs = {"factors": factors, "profile": profile(factors) if len(factors) else pd.DataFrame()}
        return table

    def record(self, run_id: str) -> dict[str, Any]:
        """The whole record of a run: identity, configuration, code, packages, device, final losses, metrics.

        Args:
            run_id: its id, or the first letters of it.

        Raises:
            ValueError: there is no such run, several begin so, or its record cannot be read.
        """
        run_id = find_run(self._store, str(run_id))
        record = self._store.record(run_id)
        if record is None:
            raise ValueError(f"The record of run {run_id} in {self._name} cannot be read.")
        return record

    def curves(self, run_id: str) -> pd.DataFrame:
        """A run's curves, one row per step: ``train_loss``, ``lr``, ``grad_norm``, ``clipped``, a column per metric.

        Args:
            run_id: its id, or the first letters of it.

        Raises:
            StoreError: there are none.
        """
        return self._store.curves(find_run(self._store, str(run_id))).to_pandas()


class SweepResults:
    """What the runs of one sweep or file say.

    Args:
        comparison: what was compared.
        losses: reads the train losses of a run.
    """

    def __init__(self, comparison: Comparison, losses: LossReader) -> None:
        self._comparison = comparison
        self._losses = losses

    def __repr__(self) -> str:
        asked = self.question if self.question[-1:] in "?.!" else f"{self.question}."
        return f"SweepResults({asked} Compared by {self.final_loss}: {FINAL_LOSSES.get(self.final_loss, '')}.)"

    @property
    def question(self) -> str:
        """What was asked."""
        return self._comparison.title

    @property
    def final_loss(self) -> str:
        """Definition of the final loss; that of a panel, where it has its own, is in `panel_final_losses`."""
        return self._comparison.final_loss

    @property
    def panel_final_losses(self) -> Mapping[str, str]:
        """Definition of the final loss of the panels that have their own, by task."""
        return self._comparison.panel_losses

    @property
    def runs(self) -> pd.DataFrame:
        """One row per planned run, those without a result too; ``loss`` is by `final_loss`, ``setting`` a mapping."""
        return self._comparison.runs.assign(setting=self._comparison.runs["setting"].map(dict))

    @property
    def tuned(self) -> pd.DataFrame:
        """One row per task, optimizer and batch size: the tuned setting, its loss with its interval, edges, seeds."""
        return self._comparison.tuned.copy()

    @property
    def gaps(self) -> pd.DataFrame:
        """One row per task, pair of optimizers and batch size: the gap (positive: the challenger is better).

        ``verdict`` is better, level, leans or open; ``better`` and ``leans`` name the optimizer; ``uncertainty`` is
        half the 95% interval; the columns that begin with ``relative_`` are in percent of the reference's loss.
        """
        return self._comparison.gaps.copy()

    @property
    def crossovers(self) -> pd.DataFrame:
        """One row per task and pair: the batch sizes between which the gap passes zero, and the answer in words."""
        with self._comparison.named():
            answers = [x.sentence() for x in self._comparison.crossovers]
        rows = [
            {"task": x.task, "reference": x.reference, "challenger": x.challenger, "claimed": x.claimed, "low": x.low,
             "high": x.high, "answer": answer}
            for x, answer in zip(self._comparison.crossovers, answers, strict=True)
        ]  # fmt: skip
        return pd.DataFrame(rows)

    @property
    def steps_to_target(self) -> pd.DataFrame:
        """One row per task, optimizer and batch size: steps, samples, tokens and seconds to the target loss.

        ``outcome`` says where it was not reached, ``steps_low`` and ``steps_high`` end the 95% interval, ``ratio`` is
        the reference's steps by this optimizer's, and ``sooner`` names the optimizer that is sooner at 95%.
        """
        return self._comparison.to_target.copy()

    @property
    def steps_retrained(self) -> pd.DataFrame:
        """The same where the budget was made for the target, in a sweep of several budgets; else without rows."""
        return self._comparison.retrained

    @property
    def critical_batch_sizes(self) -> pd.DataFrame:
        """One row per task and optimizer: where doubling the batch stops halving the steps, and E / S of S + E / B."""
        return self._comparison.critical

    @property
    def tuned_laws(self) -> pd.DataFrame:
        """One row per task, optimizer and tuned quantity: its power of the batch size beside a rule's."""
        return self._comparison.tuned_laws

    @property
    def budget_laws(self) -> pd.DataFrame:
        """One row per pair of optimizers in a sweep of several budgets: the crossover's power of the budget."""
        return law_table(self._comparison.budget_laws)

    @property
    def crossovers_by_budget(self) -> pd.DataFrame:
        """The crossovers that `budget_laws` rest on: one row per budget and pair."""
        with self._comparison.named():
            return crossover_table(self._comparison.budget_laws)

    @property
    def collapses(self) -> pd.DataFrame:
        """One row per pair of optimizers in a sweep of several budgets: whether the gap follows steps or batch size."""
        return collapse_table(self._comparison.collapses)

    @property
    def effects(self) -> pd.DataFrame:
        """One row per pair, batch size and setting that panels vary: its effect on the relative gap, with interval."""
        return self._comparison.effects[0]

    @property
    def explained(self) -> pd.DataFrame:
        """One row per pair and batch size: the share of the gaps' variance between panels that the effects explain."""
        return self._comparison.effects[1]

    @property
    def laws(self) -> list[str]:
        """What a sweep of several budgets says of them: crossovers, what the gap follows, critical batch sizes."""
        comparison = self._comparison
        with comparison.named():
            sentences = comparison.budget_sentences
            if not comparison.retrained.empty:
                several = comparison.retrained["task"].nunique() > 1
                sentences += critical_sentences(comparison.critical, several=several)
            return sentences

    @property
    def caveats(self) -> list[str]:
        """What a reader must know before believing the numbers, a sentence each."""
        with self._comparison.named():
            return caveats(self._comparison)

    def figures(self, task: str | None = None) -> list[str]:
        """Names of the figures that show something, each of which is drawn to know it; see `figure`."""
        with self._comparison.named():
            return [name for name, draw in self._drawings(task).items() if drawn(draw) is not None]

    def figure(self, name: str = "gap", *, task: str | None = None, look: Look | str = PAGE) -> Figure:
        """A figure of the report, to restyle or save: ``figure.axes[0].set_ylim(...)``, ``figure.savefig("gap.pdf")``.

        Args:
            name: one of `figures`.
            task: where there are several, the one that is drawn; None: all together for ``branches``, ``panels``,
                ``budget_law``, ``collapse``, ``effects`` and ``retrained-1``, the first for the others.
            look: width, type size and scales, or the name of a look: page, column, slide.

        Raises:
            ValueError: there is no such figure or look, or nothing to draw in it.
        """
        if isinstance(look, str):
            if look not in LOOKS:
                raise ValueError(f"There is no look {look!r}; there are: {', '.join(LOOKS)}.")
            look = LOOKS[look]
        drawings = self._drawings(task)
        with self._comparison.named():
            figure = drawn(drawings[name], look) if name in drawings else None
        if figure is None:
            wrong = "nothing to draw in the" if name in drawings else "no"
            raise ValueError(f"There is {wrong} figure {name!r}; there are: {', '.join(self.figures(task)) or 'none'}.")
        return figure

    def _drawings(self, task: str | None) -> dict[str, Any]:
        tasks = list(self._comparison.runs["task"].unique())
        if task is not None and task not in tasks:
            raise ValueError(f"There is no task {task!r}; there are: {', '.join(tasks)}.")
        comparison = self._comparison.of_task(task or tasks[0]) if len(tasks) > 1 else self._comparison
        labels = list(self._comparison.runs["optimizer"].drop_duplicates())
        together = overall_drawings(self._comparison, labels) if task is None else {}
        return together | drawings_of(comparison, self._losses, labels)


_EMPTY: dict[str, Any] = {
    **dict.fromkeys(("run_id", "task", "batch_size", "seed", "steps", "status")), "optimizer": {"name": None},
    "final": {}, "metrics": {},
}  # fmt: skip
"""A record whose row has the columns that every run has."""


def _row(record: Mapping[str, Any]) -> dict[str, Any]:
    code, device = record.get("code") or {}, record.get("device") or {}
    settings = record["optimizer"]
    row = {"run_id": record["run_id"], "task": record["task"]}
    row["optimizer"] = settings["name"]
    row |= {name: record[name] for name in ("batch_size", "seed", "steps", "status")}
    row |= {f"final_{name}": record["final"].get(name) for name in FINAL_LOSSES}
    row |= {name: record.get(name) for name in ("diverged_at", "parameters")}
    row |= {"seconds": (record.get("seconds") or {}).get("total"), "device": device.get("name")}
    row |= {name: code.get(name) for name in ("version", "commit")}
    row |= {name: record.get(name) for name in ("started", "ended", "error")}
    row |= record["metrics"]
    return row | {f"optimizer.{key}": value for key, value in settings.items() if key != "name"}
