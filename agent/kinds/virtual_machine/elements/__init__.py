"""The parts of a domain's definition: one file per libvirt element, its template beside it.

Each has frozen facts, `expect` (what the spec and all it refers to ask for) and `read` (what a
definition says), so that `read(render(facts)) == facts`. `read` takes whatever a person may have
edited and never fails. A template prints, it does not decide.
"""
