"""WHAT a reader gets: one self-contained HTML page for a sweep, its figures and tables beside it."""

from suite.analysis.report.write import write_report

__all__ = ["write_report"]
