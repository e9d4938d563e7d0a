"""WHAT the runs say: tuned points, gap, crossover, figures and the report (reads records only, no torch).

Importing this package loads nothing: tables need pandas, and only `figures` and `report` load matplotlib.
The definitions that every number here follows (gap, tuned point, seed rule, decision rule) stand in
`suite.analysis.gap`.
"""
