"""HOW the answers are drawn: one figure per file, readable in print, in grey and by colour-blind readers."""
