"""WHAT is trained: one folder per dataset, one file per architecture trained on it."""
