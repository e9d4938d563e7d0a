"""The diagnostics that come with the suite, as data; importing it does not import torch."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from suite.fields import ConfigError, read
from suite.optim.registry import class_in

if TYPE_CHECKING:
    from suite.diagnostics.diagnostic import Diagnostic

CATALOGUE: dict[str, tuple[str, str]] = {
    "clipping": (
        "suite.diagnostics.clipping.GradientClipping",
        "gradient norm before and after clipping, share of steps that are clipped (paper 2, Figure 11)",
    ),
    "clipped_coordinates": (
        "suite.diagnostics.clipping.ClippedCoordinates",
        "share of coordinates that are clipped, per layer (paper 2, Figure 20)",
    ),
    "updates": (
        "suite.diagnostics.updates.Updates",
        "update RMS per layer, update-to-weight ratio per role (norm, embed, head, bias, hidden)",
    ),
    "agreement": (
        "suite.diagnostics.agreement.Agreement",
        "signs and cosines between the updates of Adam, Signum, SGD and the run's own, on the same gradients",
    ),
    "noise": (
        "suite.diagnostics.noise.Noise",
        "gradient noise: scale, signal per layer, tail index, sign descent's drift (McCandlish, Compagnoni et al.)",
    ),
    "frequency": (
        "suite.diagnostics.frequency.Frequency",
        "loss by frequency of the token or class (Kunstner et al.; paper 2, Figures 6 and 7)",
    ),
    "sharpness": (
        "suite.diagnostics.sharpness.Sharpness",
        "gradient correlation and directional sharpness along the step taken (paper 2, Figure 16)",
    ),
    "smoothness": (
        "suite.diagnostics.smoothness.Smoothness",
        "L_2 and L_inf smoothness, their ratio r and the regime it predicts (paper 1, section 5)",
    ),
    "spectra": (
        "suite.diagnostics.spectra.Spectra",
        "Hessian spectra by block and their Jensen-Shannon distances (Zhang et al.)",
    ),
}
"""Name -> (class path, description in one line)."""


def parse(spec: Mapping[str, Any] | None) -> dict[str, Diagnostic]:
    """Make the diagnostics in a task's settings.

    Args:
        spec: name, or dotted class path, -> settings; settings may be empty or null.

    Raises:
        ConfigError: a diagnostic is unknown; or a setting is unknown or of the wrong type.
    """
    diagnostics: dict[str, Diagnostic] = {}
    for name, settings in (spec or {}).items():
        if not isinstance(name, str):
            raise ConfigError(f"diagnostics must be named by texts, got {name!r}.")
        if settings is not None and not isinstance(settings, Mapping):
            raise ConfigError(
                f"diagnostics.{name} must be a mapping of settings, got {settings!r}; write {name}: {{}} for none."
            )
        diagnostics[name] = read(diagnostic_class(name), settings or {}, name=f"diagnostics.{name}")
    return diagnostics


def diagnostic_class(name: str) -> type[Diagnostic]:
    """The class behind a name or a dotted class path.

    Raises:
        ConfigError: the name is unknown, or the path does not name a `Diagnostic`.
    """
    cls = class_in(CATALOGUE, name, "diagnostic")
    from suite.diagnostics.diagnostic import Diagnostic

    if not issubclass(cls, Diagnostic):
        raise ConfigError(f"The class path {name!r} must name a Diagnostic, got {cls.__name__}.")
    return cls


def list_diagnostics() -> dict[str, str]:
    """Name of every diagnostic -> description in one line."""
    return {name: line for name, (_, line) in CATALOGUE.items()}
