"""The house: layout, packaging, locks, import rules, the set-up script."""
