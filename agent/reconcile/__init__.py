"""One pass, and what it needs around it: reading Git and hosts into facts, carrying out actions,
writing the ledger.

`Reconciler.run` reads top to bottom as the pipeline. Nothing in here decides what a kind means.
"""
