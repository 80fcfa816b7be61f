"""VirtualMachine: one libvirt domain."""
