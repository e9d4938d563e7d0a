"""WHERE the runs of a sweep are executed: one module per launcher, the same plan and the same records for all."""
