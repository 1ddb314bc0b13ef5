"""Models: how rows are split, trained on, judged and compared.

Everything here is pure: frames and arrays in, values out. What runs when, and where results are
kept, is the assets' business; what the columns mean is said in `transactions.columns`.
"""
