"""Image files: download, check, format, conversion, seed media. The only one to start
qemu-img, and, beside dulwich's client in gitrepo, to know urllib3.
"""
