"""How does a text corpus become token files, and batches? Every text dataset reuses this folder."""
