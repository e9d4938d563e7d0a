"""HOW a command line becomes a call: light commands answer at once, the others load Lightning."""
