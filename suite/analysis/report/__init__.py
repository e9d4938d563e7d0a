"""WHAT a reader gets: a self-contained HTML page per sweep, figures and tables beside it, an index over a store."""

from suite.analysis.report.drawings import Shown
from suite.analysis.report.index import write_index
from suite.analysis.report.write import Report, write_report

__all__ = ["Report", "Shown", "write_index", "write_report"]
