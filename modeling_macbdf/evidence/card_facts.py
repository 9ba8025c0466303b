"""What the model's own card says, for people who read a verdict: training data, error rates, limits."""

import os
import re
from pathlib import Path

_METRIC = re.compile(r"^\|\s*(\w+)\s*\|\s*(-?[\d.]+)\s*\|", re.MULTILINE)
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


def error_rates(card: str) -> str:
    """The rates of wrong verdicts in the card's first results, in one sentence; empty where it has none."""
    match = re.search(r"^## (Results on .*?)$(.*?)(?=^## |\Z)", card, re.MULTILINE | re.DOTALL)
    if match is None:
        return ""
    found = dict(_METRIC.findall(match[2]))
    rates = [f"{words} {float(found[name]):.1%}" for name, words in _SHOWN.items() if name in found]
    auc = [f"AUC {float(found['auc']):.3f}"] if "auc" in found else []
    return f"{match[1]}: {', '.join(rates + auc)}." if rates or auc else ""


def as_html(card: str) -> str:
    """The card as HTML; raw HTML in it is shown as text, so that a card cannot bring code or foreign pictures."""
    from markdown_it import MarkdownIt

    return str(MarkdownIt("commonmark", {"html": False}).enable("table").disable("image").render(card))
