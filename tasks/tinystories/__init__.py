"""What does `paper` mean for TinyStories, and which architectures are trained on it?"""
