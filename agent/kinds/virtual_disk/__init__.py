"""VirtualDisk: a qcow2 volume of its own, blank or on top of image data. Its data is never deleted
by a decision here.
"""
