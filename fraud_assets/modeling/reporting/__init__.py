"""How a model and its evaluation are shown to people: pictures, the page, the model card.

Nothing is measured or decided here; every number comes from the manifest, the policy or the gate's
report.
"""
