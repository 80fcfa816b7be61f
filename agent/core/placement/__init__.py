"""Which node a machine goes to: pure, with Kubernetes' meanings of its fields, and its words.
Nothing here knows how a machine is made, or asks a host.
"""
