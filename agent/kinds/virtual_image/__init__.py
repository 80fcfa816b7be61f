"""VirtualImage and ClusterVirtualImage: read-only image data, kept once a node by its digest."""
