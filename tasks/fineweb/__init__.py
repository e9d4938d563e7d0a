"""What does `paper` mean for FineWeb, and which architectures are trained on it?"""
