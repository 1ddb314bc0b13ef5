"""Fraud detection as a Dagster asset graph, one partition per simulation day.

Nothing is imported here: the code location loads in many short-lived processes, and each
module imports what it needs where it needs it.
"""
