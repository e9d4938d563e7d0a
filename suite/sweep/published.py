"""Values that a paper prints, given in a sweep's YAML, which reports show beside the measured values.

One entry is a mapping::

    - {panel: "GPT", batch_size: 1024, gap: -0.316, source: "secondary summary"}
    - {batch_size: 256, losses: {adam: 4.5291, sgd: 4.8853}, source: "released results, 4-mer"}
    - {batch_size: 256, perplexities: {adam: 21.86, sgd: 53.62}, source: "paper 3, table 1"}
"""

from __future__ import annotations

import dataclasses

from suite.fields import ConfigError

_VALUES = ("gap", "relative_gap", "losses", "perplexities")


@dataclasses.dataclass(frozen=True, kw_only=True)
class Published:
    """One entry: at least one of the gaps, losses and perplexities, with its source."""

    source: str
    """The table, figure or file from which the value was read."""

    panel: str | None = None
    """Label of the sweep's panel to which the value belongs."""

    batch_size: int | None = None
    """Samples per optimizer step."""

    reference: str | None = None
    """Optimizer whose loss the gap starts from; by default Adam."""

    challenger: str | None = None
    """Optimizer whose loss is subtracted; by default SGD."""

    gap: float | None = None
    """The reference's loss minus the challenger's; positive if the challenger is better."""

    relative_gap: float | None = None
    """The gap in percent of the reference's loss."""

    losses: dict[str, float] | None = None
    """Final loss by optimizer."""

    perplexities: dict[str, float] | None = None
    """Final perplexity by optimizer."""

    def __post_init__(self) -> None:
        if all(getattr(self, name) is None for name in _VALUES):
            raise ConfigError(f"published must give one of {', '.join(_VALUES)} with every source.")
