"""VirtualMachineClass: the CPU that guests see, and the sizes that they may have."""
