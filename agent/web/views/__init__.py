"""Views: pure functions from what was read to what is shown, one module an address. They give
values of JSON's types, which templates print and programs get as they are.
"""
