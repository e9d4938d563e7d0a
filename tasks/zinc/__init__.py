"""How do molecules become graphs with a true target, and which architectures are trained on them?"""
