"""What the model's own card says, for people who read a verdict: training data, error rates, limits."""

import os
import re
from collections.abc import Sequence
from pathlib import Path

_METRIC = re.compile(r"^\|\s*(\w+)\s*\|\s*(-?[\d.]+)\s*\|(?:\s*([\d.]+) to ([\d.]+)\s*\|)?", re.MULTILINE)
_RESULTS = re.compile(r"^## Results on (.*?)$(.*?)(?=^## |\Z)", re.MULTILINE | re.DOTALL)
_SHOWN = {
    "reals_called_fake": "real clips called fake",
    "fakes_called_real": "forged clips called real",
    "inconclusive": "answered inconclusive",
}


def read_card(model: str | os.PathLike[str], revision: str | None = None) -> str:
    """The card's Markdown without its front matter; empty where the model has none.

    Args:
        model: folder or Hub repository. For a repository it is fetched like the weights.
        revision: of the repository.
    """
    folder = Path(model)
    file = folder / "README.md" if folder.is_dir() else _from_hub(os.fspath(model), revision)
    if file is None or not file.is_file():
        return ""
    text = file.read_text(encoding="utf-8")
    return re.sub(r"\A---\n.*?\n---\n", "", text, flags=re.DOTALL).strip()


def _from_hub(repo: str, revision: str | None) -> Path | None:
    from transformers.utils import cached_file

    options = {"_raise_exceptions_for_missing_entries": False, "_raise_exceptions_for_connection_errors": False}
    found = cached_file(repo, "README.md", revision=revision, **options)
    return Path(found) if found else None


def error_rates(card: str) -> list[str]:
    """The rates of wrong verdicts and the AUC in the card's results, a sentence each, with 95 % intervals."""
    told = []
    for title, text in _RESULTS.findall(card):
        found = {name: values for name, *values in _METRIC.findall(text)}
        rates = [f"{words} {_shown(found[name], '.0%')}" for name, words in _SHOWN.items() if name in found]
        rates += [f"AUC {_shown(found['auc'], '.2f')}"] if "auc" in found else []
        if rates:
            told.append(f"{title}: {', '.join(rates)}.")
    return told


def _shown(values: Sequence[str], form: str) -> str:
    """A value and its interval, where it has one."""
    value, low, high = (format(float(text), form) if text else "" for text in values)
    return f"{value} [{low}, {high}]" if low else value


def as_html(card: str) -> str:
    """The card as HTML; raw HTML in it is shown as text, so that a card cannot bring code or foreign pictures."""
    from markdown_it import MarkdownIt

    return str(MarkdownIt("commonmark", {"html": False}).enable("table").disable("image").render(card))
