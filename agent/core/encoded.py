"""Base64 as the Kubernetes API reads it: Go's decoder lets line ends through, so that text is read
that was wrapped on its way.
"""

from __future__ import annotations

import base64


def decoded(text: str) -> bytes:
    """The bytes that the text stands for. Raises ValueError if it is no base64."""
    return base64.b64decode(text.replace("\r", "").replace("\n", ""), validate=True)
