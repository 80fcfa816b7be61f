"""Git, by dulwich: commits to read, commits to make, and news of both. Nothing here knows what a
manifest means.
"""
