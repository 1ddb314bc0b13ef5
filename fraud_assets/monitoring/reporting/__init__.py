"""How a day's monitoring is shown to people: pictures over days, and the page behind an alert.

Nothing is measured or decided here; every number comes from the records, the tables of the day and
the policy's decisions. The look is that of `modeling.reporting`.
"""
