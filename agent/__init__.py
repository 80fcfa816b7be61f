"""gitvirt: a Git repository as the control plane of libvirt virtual machines.

Data goes down this list, imports go down it too (a layer may import what stands below it):

    cli         one module a command; builds the real adapters
    loop        wake-ups, signals, the end
    assemble    the one place that knows all parts of the agent
    reconcile   one pass, top to bottom
    settings    the only reader of the environment and of configuration files
    gitrepo     Git: commits to read, commits to make, news; only importer of dulwich, watchfiles
    hypervisor  libvirt: reading, verbs, events; only importer of libvirt
    images      downloads and image files; only importer of the HTTP client and of qemu-img
    kinds       what each kind means; pure
    core        values and the rules that hold for every kind; pure
"""
