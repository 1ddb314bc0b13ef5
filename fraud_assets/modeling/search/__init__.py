"""The search for a model: one family's parameters, its stopping rule and journal, and all families.

What is fitted stands in `estimators`, on which rows in `matrices`, and whether the outcome is any
good is judged elsewhere: a search sees training and validation days only.
"""
