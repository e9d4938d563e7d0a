"""On which problems is every quantity of the theory known, and which networks are trained on them?"""
