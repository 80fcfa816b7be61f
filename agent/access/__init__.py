"""What a person reaches of a virtual machine: its console, its screen, its ports. Here lives what
goes on between the person's terminal or programs and a host, by the person's own rights. Which
machine is meant, and where it is, `cli` knows; libvirt, `hypervisor`.
"""
