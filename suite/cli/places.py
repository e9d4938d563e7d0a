"""Where records and prepared data go, unless a flag says otherwise."""

from __future__ import annotations

import os

DEFAULT_STORE = os.environ.get("SUITE_STORE", "runs")
