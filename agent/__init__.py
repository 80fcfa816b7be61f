"""gitvirt: a Git repository as the control plane of libvirt virtual machines.

Data goes down this list, imports go down it too (a layer may import what stands below it):

    cli         one module a command; builds the real adapters
    loop        wake-ups, back-off, signals
    reconcile   one pass, top to bottom
    gitrepo     Git: desired state, status branch, operations; only importer of dulwich and watchfiles
    hypervisor  libvirt: reading, verbs, events; the only importer of libvirt
    images      downloads and image files; the only importer of the HTTP client and of qemu-img
    kinds       what each kind means; pure
    core        values and the rules that hold for every kind; pure
"""
