"""One example per diagnostic of the catalogue, small enough for a test."""

from __future__ import annotations

from typing import Any

EXAMPLES: dict[str, dict[str, Any]] = {
    "agreement": {"every": 8, "window": 3},
    "clipping": {"every": 5, "block": 6},
    "clipped_coordinates": {"every": 5},
    "updates": {"every": 5},
    "noise": {"times": 2, "gradients": 8, "batch_sizes": [1, 2]},
    "frequency": {"times": 2, "samples": 4},
    "sharpness": {"times": 2, "samples": 4},
    "smoothness": {"times": 2, "samples": 4, "iterations": 2},
    "spectra": {"times": 1, "samples": 2, "nodes": 3},
}
