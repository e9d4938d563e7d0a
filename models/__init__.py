"""Plain networks: no data, no loss, no optimizer, no Lightning."""
