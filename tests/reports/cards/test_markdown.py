"""Texts and names cannot write the cards that they stand on."""

import re

from qurating.reports.cards.markdown import escaped, template

HOSTILE = "<script>x</script> | **bold** [link](http://a.b) `code`\n# Heading @you www.x.y \u202e $m$ ![](a.png)"


def test_text_of_a_corpus_cannot_write_the_card() -> None:
    shown = escaped(HOSTILE)
    assert not re.search(r"[<>|*`\[\]#@$\n\u202e]|www\.|http:", re.sub(r"&#\d+;", "", shown))
    for hostile in ("- item", "1. item", "=== \n", "---", "+ x"):
        assert re.match(r"\d*&#", escaped(hostile)), hostile
    assert escaped("0.5 and 3-4") == "0.5 and 3-4"


def test_a_template_escapes_where_it_says_so() -> None:
    empty = {"labels": [], "data": {}, "training": {}, "curve": [], "domains": [], "made_of": [], "is_rated": False}
    page = template("model_card.md.jinja").render(head="", tokens="1", label=HOSTILE, **empty)
    assert "<script>" not in page
    assert "&#124;" in page
