"""What does `paper` mean for the human genome, and which architectures are trained on it?"""
