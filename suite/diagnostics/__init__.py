"""WHAT happens inside a run: the quantities on which explanations of the gap rest, one per file.

A task lists them by name (``diagnostics: {clipping: {every: 100}}``). They are off by default and never change the
training. Importing this package imports none of them.
"""
