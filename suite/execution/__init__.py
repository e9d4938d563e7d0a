"""HOW a plan is carried out: its runs resolved and identified, packs measured, jobs, launchers, the worker."""
