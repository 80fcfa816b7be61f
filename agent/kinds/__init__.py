"""What each kind means: a folder a kind. Pure: values in, value out; clock, capabilities and ids
are arguments.
"""
