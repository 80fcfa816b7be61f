"""VirtualMachineOperation: a request to act once on one VM. What becomes of it is the VM's
decision.
"""
