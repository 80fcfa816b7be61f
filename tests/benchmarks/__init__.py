"""How fast and how large the agent is, in figures of one run on one machine. Not part of the tests: a figure is no proof, and
depends on what else the machine does. Where a target is a ratio, both sides are measured in the same run.

    python -m tests.benchmarks            all of them
    python -m tests.benchmarks NAME…      some, each in a process of its own
"""
