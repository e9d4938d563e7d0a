"""The update rules that come with the suite, as data: name, config class, one line. Importing it imports nothing."""

from __future__ import annotations

from typing import Any, NamedTuple

CATALOGUE: dict[str, tuple[str, str]] = {
    "adam": ("suite.optim.rules.adam.Adam", "Adam with tied betas or independent ones"),
    "sgd": ("suite.optim.rules.sgd.SGD", "SGD with heavy-ball, damped or Nesterov momentum"),
}
"""Registered name -> (class path of the config, what it is)."""



class LibraryOptimizer(NamedTuple):
    """An optimizer class of another library under a short name.

    Attributes:
        path: dotted path of the class.
        line: what it is.
        presets: arguments whose values differ here from the class's defaults, so that ``lr`` means the peak learning rate.
    """

    path: str
    line: str
    presets: dict[str, Any]


LIBRARY: dict[str, LibraryOptimizer] = {
    "adafactor": LibraryOptimizer(
        "pytorch_optimizer.AdaFactor",
        "Adafactor: a factored second moment (Shazeer & Stern 2018)",
        # By default the class computes a rate of its own and ignores lr.
        {"relative_step": False, "scale_parameter": False},
    ),
    "lion": LibraryOptimizer("pytorch_optimizer.Lion", "Lion: sign of an interpolated momentum (Chen et al. 2023)", {}),
    "schedule_free": LibraryOptimizer(
        "pytorch_optimizer.ScheduleFreeAdamW", "schedule-free AdamW, evaluated at averaged weights (Defazio et al. 2024)", {}
    ),
    "schedule_free_sgd": LibraryOptimizer(
        "pytorch_optimizer.ScheduleFreeSGD", "schedule-free SGD, evaluated at averaged weights (Defazio et al. 2024)", {}
    ),
    "scion": LibraryOptimizer("pytorch_optimizer.SCION", "Scion: norm-constrained steps per layer (Pethick et al. 2025)", {}),
    "soap": LibraryOptimizer("pytorch_optimizer.SOAP", "SOAP: Adam in Shampoo's eigenbasis (Vyas et al. 2024)", {}),
}
"""Optimizers of a well-kept library, by short name; any other class works by its dotted path."""

LIBRARY_EXTRA = "adam-sgd-gap[optimizers]"
"""What to install for them."""

SCHEDULES: dict[str, tuple[str, str]] = {
    "constant": ("suite.optim.schedule.Constant", "the peak throughout, after an optional warm-up"),
    "linear": ("suite.optim.schedule.Linear", "linear warm-up, then linear decay"),
    "warmup_cosine": ("suite.optim.schedule.WarmupCosine", "linear warm-up, then a cosine to zero (paper 1)"),
    "wsd": ("suite.optim.schedule.WarmupStableDecay", "warm-up, stable, then linear cool-down"),
}
"""Learning-rate schedules, in the same form."""
