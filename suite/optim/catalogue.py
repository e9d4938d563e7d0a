"""The update rules and schedules that come with the suite, as data; reading it imports none of their modules."""

from __future__ import annotations

from typing import Any, NamedTuple

CATALOGUE: dict[str, tuple[str, str]] = {
    "adam": ("suite.optim.rules.adam.Adam", "Adam with tied betas or independent ones"),
    "adamw": ("suite.optim.rules.adam.AdamW", "Adam with decoupled weight decay"),
    "adafactor_beta2": (
        "suite.optim.rules.adafactor.AdafactorBeta2",
        "Adafactor whose second moment has a decay of its own choice (paper 4)",
    ),
    "ademamix": (
        "suite.optim.rules.ademamix.AdEMAMix",
        "Adam with a second, slow average of the gradients (Pagliardini et al. 2024)",
    ),
    "adopt": (
        "suite.optim.rules.adopt.ADOPT",
        "Adam normalised by the gradients before the present one (Taniguchi et al. 2024)",
    ),
    "adavar": (
        "suite.optim.rules.adavar.AdaVar",
        "Adam as a mean and a variance, with free weights (paper 3)",
    ),
    "ema_sign": ("suite.optim.rules.sign.EMASign", "average of the gradients' signs (paper 3)"),
    "grafted": (
        "suite.optim.rules.grafted.Grafted",
        "length of one rule's step, direction of another's (paper 2)",
    ),
    "hybrid": (
        "suite.optim.rules.hybrid.Hybrid",
        "a rule per parameter role or name pattern (paper 1, Table 1)",
    ),
    "mars": (
        "suite.optim.rules.mars.MARS",
        "Adam on gradients corrected by the last ones (Yuan et al. 2024)",
    ),
    "muon": ("suite.optim.rules.muon.Muon", "orthogonalised momentum on hidden matrices, Adam on the rest"),
    "nsgd": ("suite.optim.rules.nsgd.NSGD", "normalised SGD with momentum (paper 1, section 5)"),
    "rmsprop": ("suite.optim.rules.rmsprop.RMSprop", "Adam without momentum (paper 3)"),
    "scion": (
        "suite.optim.rules.scion.Scion",
        "steps of a fixed norm, by layer: spectral, sign, root mean square (Pethick et al. 2025)",
    ),
    "sgd": ("suite.optim.rules.sgd.SGD", "SGD with heavy-ball, damped or Nesterov momentum"),
    "sgd_coordinate_clip": (
        "suite.optim.rules.clipped_sgd.SGDCoordinateClip",
        "SGD, coordinates clipped at a constant after momentum (paper 3)",
    ),
    "sgd_quantile_clip": (
        "suite.optim.rules.clipped_sgd.SGDQuantileClip",
        "SGD, the largest coordinates clipped at a quantile after momentum (paper 2)",
    ),
    "signsgd": ("suite.optim.rules.sign.SignSGD", "sign of the gradient"),
    "sophia": (
        "suite.optim.rules.sophia.Sophia",
        "Sophia-G: momentum over a Gauss-Newton diagonal, clipped; a second gradient every 10th step (Liu et al. 2023)",
    ),
    "sophia_ef": (
        "suite.optim.rules.sophia_ef.SophiaEF",
        "Sophia's clipped step, with the empirical Fisher for its Hessian estimate (after Liu et al. 2023)",
    ),
    "signum": ("suite.optim.rules.sign.Signum", "sign of the momentum"),
}
"""Registered name -> (class path of the config, description in one line)."""


class LibraryOptimizer(NamedTuple):
    """An optimizer class of another library under a short name.

    Attributes:
        path: dotted path of the class.
        line: description in one line.
        presets: arguments that are set here in place of the class's defaults, so that ``lr`` is the peak learning rate.
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
    "prodigy": LibraryOptimizer(
        "pytorch_optimizer.Prodigy",
        "Prodigy: Adam that finds its step size; lr is a factor, around 1 (Mishchenko & Defazio 2023)",
        # Schedules warm up, for which the method's authors advise the first; the second stands for an infinite growth,
        # which no record can hold.
        {"safeguard_warmup": True, "growth_rate": 1e30},
    ),
    "schedule_free": LibraryOptimizer(
        "pytorch_optimizer.ScheduleFreeAdamW",
        "schedule-free AdamW, evaluated at averaged weights (Defazio et al. 2024)",
        {},
    ),
    "schedule_free_sgd": LibraryOptimizer(
        "pytorch_optimizer.ScheduleFreeSGD",
        "schedule-free SGD, evaluated at averaged weights (Defazio et al. 2024)",
        {},
    ),
    "soap": LibraryOptimizer("pytorch_optimizer.SOAP", "SOAP: Adam in Shampoo's eigenbasis (Vyas et al. 2024)", {}),
}
"""Optimizers of a well-kept library, by short name; any other class works by its dotted path."""

LIBRARY_EXTRA = "adam-sgd-gap[optimizers]"
"""The package and extra that install them."""

SCHEDULES: dict[str, tuple[str, str]] = {
    "constant": ("suite.optim.schedule.Constant", "the peak throughout, after an optional warm-up"),
    "linear": ("suite.optim.schedule.Linear", "linear warm-up, then linear decay"),
    "warmup_cosine": ("suite.optim.schedule.WarmupCosine", "linear warm-up, then a cosine to zero (paper 1)"),
    "wsd": ("suite.optim.schedule.WarmupStableDecay", "warm-up, stable, then linear cool-down"),
}
"""Learning-rate schedules: name -> (class path, description in one line)."""
