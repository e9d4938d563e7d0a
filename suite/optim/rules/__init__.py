"""HOW each optimizer updates the parameters: one file per rule or family, a frozen config with its pure update."""
