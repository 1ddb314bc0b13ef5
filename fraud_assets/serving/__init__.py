"""The API that answers for one transaction at a time.

It stands on the domain and never on the assets: it reads what they put in force (the registry's
aliases, the store, the lake) and trains nothing.
"""
