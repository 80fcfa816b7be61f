"""Plans are shown as the agent has set them, and say what people have written."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agent.core.planprint import escape
from agent.web.views.markdown import blocks, spans


def test_a_plan_is_headings_items_and_text() -> None:
    text = (
        "### Plan: 1 to change\n\nBranch **more** at commit `abc`.\n\n- **change** vm\n  - now: a\n"
    )
    shown = [(each["as"], each["depth"]) for each in blocks(text)]
    assert shown == [("heading", 3), ("text", 0), ("item", 0), ("item", 1)]
    (_, text_block, item, _) = blocks(text)
    assert text_block["spans"] == [
        {"text": "Branch ", "style": ""},
        {"text": "more", "style": "bold"},
        {"text": " at commit ", "style": ""},
        {"text": "abc", "style": "code"},
        {"text": ".", "style": ""},
    ]
    assert item["spans"][0] == {"text": "change", "style": "bold"}


@given(st.text(st.characters(codec="utf-8", exclude_categories=("C", "Z")), max_size=30))
def test_what_was_escaped_is_read_as_it_was_written(written: str) -> None:
    assert "".join(span["text"] for span in spans(escape(written))) == written
    assert {span["style"] for span in spans(escape(written))} <= {""}


@pytest.mark.parametrize("text", ["**open", "`open", "a\\", "&amp", "**`**`"])
def test_what_is_not_closed_is_text_all_the_same(text: str) -> None:
    assert all(span["text"] for span in spans(text))
