"""The shared page."""

from __future__ import annotations

from pathlib import Path

import jinja2
import pytest

from carrara.pages import environment


def test_templates_extend_the_base_escape_and_refuse_missing_names(tmp_path: Path) -> None:
    (tmp_path / "page.j2").write_text('{% extends "base.html.j2" %}{% block main %}<p>{{ text }}</p>{% endblock %}')
    template = environment(tmp_path).get_template("page.j2")
    html = template.render(text="<script>")
    assert "default-src 'none'" in html
    assert "<p>&lt;script&gt;</p>" in html
    with pytest.raises(jinja2.UndefinedError):
        template.render()
