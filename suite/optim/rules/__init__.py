"""HOW each optimizer moves the parameters: one file per rule, a frozen config with its pure update."""
