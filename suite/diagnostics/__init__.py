"""WHAT happens inside a run: the quantities that explanations of the gap rest on, one per file.

A task asks for them by name (``diagnostics: {clipping: {every: 100}}``); they are off by default and never change what
is trained. Importing this package loads nothing.
"""
