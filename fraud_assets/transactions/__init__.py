"""Transactions before any feature: profiles, sources, the simulator, validation, labels."""
