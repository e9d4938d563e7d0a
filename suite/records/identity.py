"""When are two runs the same run? A hash of the resolved configuration, minus what cannot change the numbers."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from typing import Any

EXCLUDED = {
    "trainer": "where a run is executed and how it is watched; only its precision changes the arithmetic and is kept",
    "store": "the folder that the record goes to",
    "weights_only": "how a checkpoint is read; `fit` has it and a sweep has not",
    "data.init_args.source": "the place of the data; the fingerprint of its content is in the identity instead",
    "data.init_args.data_dir": "the place of the prepared data; see source",
    "data.init_args.num_workers": "processes that prepare or load the data; the batches are the same",
    "data.init_args.micro_batch": "how a batch is cut for memory; kept for networks whose samples see each other",
    "data.init_args.cached": "whether decoded images are kept; they are the same",
    "data.init_args.cache_gb": "room for downloaded shards",
    "data.init_args.max_corrupt": "unreadable samples before preparation gives up; those that it names are left out",
    "model.init_args.attention": "which kernel computes attention; the values agree up to rounding",
    "model.init_args.loss_chunk": "positions at a time whose logits are held; the loss is the same sum",
    "data.init_args.block_steps": "optimizer steps per Lightning call; the steps are the same",
    "model.init_args.keep_weights_at": "which weights are kept on the way; the steps are the same",
}
"""Settings that are not part of a run's identity, each with its reason."""

ONLY_WHEN_SET = {
    "data.init_args.start_step": "earlier runs, made without it, keep their id",
    "model.init_args.diagnostics": "what is measured along the way; what was not asked for is not in the record",
    "model.init_args.initial": "earlier runs, made without it, keep their id",
}
"""Settings that count towards a run's identity where they are not empty, each with its reason."""

_KEPT_OF_TRAINER = ("precision",)


def run_id_of(
    config: Mapping[str, Any], *, data_fingerprint: str, micro_batch: int | None = None
) -> tuple[str, dict[str, Any]]:
    """Identify the run that a resolved configuration describes.

    Args:
        config: the resolved configuration (LightningCLI form: ``seed_everything``, ``trainer``, ``model``, ``data``).
        data_fingerprint: checksum of the prepared data's content.
        micro_batch: samples per forward pass on one device, only for networks in which it changes the gradient
            (BatchNorm, MixUp); None elsewhere.

    Returns:
        The run id (16 hexadecimal digits) and the identity that it is the hash of.

    Raises:
        ValueError: the configuration holds something that JSON cannot, or a NaN.
    """
    identity = {key: value for key, value in config.items() if key not in EXCLUDED and key != "config"}
    trainer = config.get("trainer") or {}
    identity["trainer"] = {key: trainer.get(key) for key in _KEPT_OF_TRAINER}
    if config.get("model"):
        identity["model"] = _kept("model", config["model"])
    data = _kept("data", config.get("data") or {})
    data["fingerprint"] = data_fingerprint
    if micro_batch is not None:
        data["micro_batch"] = micro_batch
    identity["data"] = data
    try:
        text = json.dumps(identity, sort_keys=True, separators=(",", ":"), allow_nan=False)
    except (TypeError, ValueError) as error:
        raise ValueError(f"A run's configuration must be plain finite values, got {error}.") from error
    return hashlib.sha256(text.encode()).hexdigest()[:16], json.loads(text)


def _kept(part: str, values: Mapping[str, Any]) -> dict[str, Any]:
    settings = (values.get("init_args") or {}).items()
    kept = {}
    for key, value in settings:
        name = f"{part}.init_args.{key}"
        if name not in EXCLUDED and (value or name not in ONLY_WHEN_SET):
            kept[key] = value
    return {**values, "init_args": kept}
