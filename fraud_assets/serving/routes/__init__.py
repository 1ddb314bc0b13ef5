"""The routes beside the scoring ones, a module for each subject.

They ask the store, the registry and Dagster, which block; FastAPI runs them in threads, so that the
event loop, on which transactions are answered, never waits for them.
"""
