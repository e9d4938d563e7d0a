"""WHAT the papers predict about the gap before anything is trained: bounds, regimes, spectra, SDEs (no torch).

Importing this package loads nothing; every file answers one question with numpy and scipy. Throughout, the gap is
positive where SGD is better, as in `suite.analysis.gap`.
"""
