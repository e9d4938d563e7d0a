"""The gated convolutional network on FineWeb (paper 1, appendix A.8)."""

from __future__ import annotations

from tasks.kinds.sequences.gcnn import SequenceGCNN


class FineWebGCNN(SequenceGCNN):
    """The gated convolutional network on FineWeb."""
