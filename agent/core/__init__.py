"""Values and rules that hold for every kind. Pure: no I/O, no clock, no environment, no import of
another package.
"""
