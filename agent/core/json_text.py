"""JSON from strangers, one token after the other: one value or several in a row, as kubectl takes
them.

The standard library's parser knows no lines, keeps the last of two equal keys and recurses.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from typing import NamedTuple

from agent.core.documents import Budget, Builder, Document, RefusedError

_SPACE = re.compile(r"[ \t\r\n]*")
_TOKEN = re.compile(
    r"""(?P<mark> [\[\]{},:])
      | (?P<text> "(?:[^"\\\x00-\x1f]|\\["\\/bfnrt]|\\u[0-9a-fA-F]{4})*")
      | (?P<number> -?(?:0|[1-9][0-9]*)(?:\.[0-9]+)?(?:[eE][-+]?[0-9]+)?(?![\w.]))
      | (?P<word> (?:true|false|null)(?!\w))""",
    re.VERBOSE,
)
_WORDS = {"true": True, "false": False, "null": None}
_CLOSING = {"{": "}", "[": "]"}
LONGEST_SHOWN = 20


class _Token(NamedTuple):
    kind: str
    """mark, text, number or word; empty at the end of the file."""
    text: str
    line: int


def read(text: str) -> Iterator[Document]:
    """Every value that is not null. Raises RefusedError at the first that cannot be read."""
    budget = Budget()
    tokens = _tokens(text)
    for token in tokens:
        if not token.kind:
            return
        budget.begin(token.line)
        document = _document(token, tokens, Builder(budget))
        if document.value is not None or document.problems:
            yield document


def _tokens(text: str) -> Iterator[_Token]:
    """Ends with one of no kind, again and again."""
    at, line = 0, 1
    while True:
        start = _SPACE.match(text, at).end()  # type: ignore[union-attr]  # it matches nothing, too
        line += text.count("\n", at, start)
        match = _TOKEN.match(text, start)
        if match is None and start < len(text):
            raise _invalid(line, f"{_shown(text[start:])} is not expected")
        yield _Token(match.lastgroup or "", match[0], line) if match else _Token("", "", line)
        at = match.end() if match else start


def _document(token: _Token, tokens: Iterator[_Token], builder: Builder) -> Document:
    closing: list[str] = []
    while True:
        if token.text in _CLOSING:
            builder.open({} if token.text == "{" else [], token.line)
            closing.append(_CLOSING[token.text])
            token = next(tokens)
            if token.text != closing[-1]:
                token = _member(token, tokens, builder)
                continue
        else:
            _scalar(token, builder)
            token = next(tokens) if closing else token
        while closing and token.text == closing[-1]:
            closing.pop()
            builder.close()
            token = next(tokens) if closing else token
        if not closing:
            return builder.document()
        if token.text != ",":
            raise _invalid(token.line, f"`,` or `{closing[-1]}` is missing before {_said(token)}")
        token = _member(next(tokens), tokens, builder)


def _member(token: _Token, tokens: Iterator[_Token], builder: Builder) -> _Token:
    """The first token of a value in a mapping or a list, behind its key where it has one."""
    if not builder.at_key():
        return token
    if token.kind != "text":
        raise _invalid(token.line, f"a key in double quotes is missing before {_said(token)}")
    _scalar(token, builder)
    colon = next(tokens)
    if colon.text != ":":
        raise _invalid(colon.line, f"`:` is missing before {_said(colon)}")
    return next(tokens)


def _scalar(token: _Token, builder: Builder) -> None:
    value: object
    match token.kind:
        case "text":
            value = json.loads(token.text)
        case "number":
            value = builder.number(token.text)
        case "word":
            value = _WORDS[token.text]
        case _:
            raise _invalid(token.line, f"a value is missing before {_said(token)}")
    builder.scalar(value, len(token.text), token.line)


def _said(token: _Token) -> str:
    return _shown(token.text) if token.kind else "the end of the file"


def _shown(text: str) -> str:
    """The beginning of a text, in one line."""
    line = (text.splitlines() or [""])[0]
    cut = line if len(line) <= LONGEST_SHOWN else f"{line[:LONGEST_SHOWN]}…"
    return f"`{cut}`"


def _invalid(line: int, message: str) -> RefusedError:
    return RefusedError(line, f"is not valid JSON: {message}")
