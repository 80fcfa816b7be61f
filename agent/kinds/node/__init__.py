"""Node: one libvirt host."""
