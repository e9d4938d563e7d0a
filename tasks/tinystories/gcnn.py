"""The gated convolutional network on TinyStories (paper 1, section 4.4 and appendix A.11)."""

from __future__ import annotations

from tasks.kinds.sequences.gcnn import SequenceGCNN


class TinyStoriesGCNN(SequenceGCNN):
    """The gated convolutional network on TinyStories."""
