"""What does `paper` mean for SlimPajama, and which architectures are trained on it?"""
