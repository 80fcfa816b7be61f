"""Image files: download, check, format, conversion, seed media. The only importer of the HTTP
client; the only one to start qemu-img.
"""
