"""A page taken apart: its figures with where they are from, its text that is no figure, its charts."""

import json
import re
from dataclasses import dataclass, field
from html.parser import HTMLParser
from urllib.parse import unquote

VOID = {"meta", "link", "br", "hr", "img", "input"}
SILENT = {"style", "script", "title", "desc"}
NUMBER = re.compile(r"(?<![\w.#])[−+]?\d[\d.,]*(?:e[−+]?\d+)?(?![\w])")


@dataclass
class Written:
    """A figure as the page shows it."""

    value: str
    sources: list
    how: str
    text: str = ""


@dataclass
class Mark:
    """A circle of a chart."""

    attributes: dict
    group: dict


@dataclass
class Page(HTMLParser):
    """``figures`` have sources, ``prose`` is all other text that is shown, ``marks`` are the charts' circles."""

    figures: list = field(default_factory=list)
    prose: list = field(default_factory=list)
    marks: list = field(default_factory=list)
    elements: list = field(default_factory=list)
    scripts: dict = field(default_factory=dict)
    texts: list = field(default_factory=list)

    def __post_init__(self):
        super().__init__(convert_charrefs=True)
        self._open = []

    @classmethod
    def of(cls, path):
        page = cls()
        page.feed(path.read_text(encoding="utf-8"))
        page.close()
        return page

    def handle_starttag(self, tag, attrs):
        attributes = dict(attrs)
        self.elements.append((tag, attributes))
        if tag == "circle":
            groups = [given for name, given in self._open if name == "g"]
            self.marks.append(Mark(attributes, groups[-1] if groups else {}))
        if tag in ("data", "tspan") and "data-source" in attributes:
            sources = [unquote(source) for source in attributes["data-source"].split(" ")]
            self.figures.append(Written(attributes["value"], sources, attributes.get("data-how", "value")))
        if tag not in VOID:
            self._open.append((tag, attributes))

    def handle_startendtag(self, tag, attrs):
        self.handle_starttag(tag, attrs)
        if tag not in VOID:
            self._open.pop()

    def handle_endtag(self, tag):
        opened, _ = self._open.pop()
        assert opened == tag, f"<{opened}> is closed by </{tag}>"

    def handle_data(self, text):
        tags = [tag for tag, _ in self._open]
        if tags[-1:] == ["script"]:
            self.scripts[self._open[-1][1].get("id", "")] = text
        if SILENT & set(tags):
            return
        self.texts.append(text)
        if any(tag in ("data", "tspan") and "data-source" in given for tag, given in self._open):
            self.figures[-1].text += text
            return
        if not any({"axis", "name"} & set(given.get("class", "").split()) for _, given in self._open):
            self.prose.append(text)

    @property
    def shown(self):
        """All its text."""
        return " ".join("".join(self.texts).split())

    @property
    def points(self):
        """What hovering tells."""
        return json.loads(self.scripts["points"])
