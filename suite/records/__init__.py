"""WHAT a run leaves behind: its identity, its record, and the store that keeps them (standard library and pyarrow)."""

from suite.records.final_loss import EMA_ALPHA, FINAL_LOSSES, SETTLED, final_losses, loss_of
from suite.records.identity import changed_code, run_id_of
from suite.records.lease import Lease, LeaseHeld
from suite.records.store import Diagnosed, Store, StoreError
from suite.records.user_code import user_code

__all__ = [
    "EMA_ALPHA",
    "FINAL_LOSSES",
    "SETTLED",
    "Diagnosed",
    "Lease",
    "LeaseHeld",
    "Store",
    "StoreError",
    "changed_code",
    "final_losses",
    "loss_of",
    "run_id_of",
    "user_code",
]
