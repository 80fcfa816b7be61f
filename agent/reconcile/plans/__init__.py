"""What manifests would do. The real planner runs on a world that exists only as facts; plans of
branches that strangers may push to are made in a process of their own. Nothing here acts.
"""
