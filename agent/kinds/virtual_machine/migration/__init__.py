"""A VM that goes from node to node: whether it can, where to, what goes along, and what is to be
done while it is under way. What both nodes show decides (`core.migration`).
"""
