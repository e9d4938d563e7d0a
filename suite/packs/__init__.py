"""HOW several runs are trained at once: stacked parameters, one optimizer for all, recorded and compiled steps."""
