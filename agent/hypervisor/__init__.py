"""Hosts: connections, reading, events and verbs. The only importer of libvirt; decides nothing."""
