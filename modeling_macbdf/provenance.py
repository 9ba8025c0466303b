"""Content credentials (C2PA) of a file, as evidence of its own: their absence says nothing, most files have none.

Needs the extra `provenance` (c2pa-python). Nothing is fetched: remote manifests and revocation lists stay unread. No
list of trusted signers is used: a valid signature says that the file is as its signer left it, not who that is.
"""

import os
from functools import lru_cache
from typing import Any

from .verdicts import Provenance

_OFFLINE = {"verify": {"remote_manifest_fetch": False, "ocsp_fetch": False}}
_NO_PLACE = "c2pa knows no place for them in this kind of file"
_NO_TRUST_LIST = "signingCredential.untrusted"  # always reported, because no list of signers is given


def read_provenance(path: str | os.PathLike[str]) -> Provenance | None:
    """The credentials inside a file; None without c2pa-python. What cannot be read is "unreadable", no exception."""
    try:
        c2pa = _c2pa()
        if c2pa is None:
            return None
        if not os.path.isfile(path):
            return Provenance("unreadable", problems=("there is no such file",))
        reader = c2pa.Reader.try_create(os.fspath(path), context=_context())
        if reader is None:
            return Provenance("none")
        with reader:
            return _from_reader(reader)
    except Exception as error:  # of any kind: of a library that does not load, or that trips over a crafted file
        return Provenance("unreadable", problems=(_problem(error),))


def _problem(error: Exception) -> str:
    words = str(error.args[0]) if error.args else type(error).__name__  # a KeyError's own text is in quotes
    return _NO_PLACE if words.startswith("NotSupported") else words


def _c2pa() -> Any:
    try:  # the copy of this file on the Hub must load without it
        import c2pa
    except ImportError:
        return None
    return c2pa


@lru_cache(maxsize=1)
def _context() -> Any:
    c2pa = _c2pa()
    return c2pa.Context(c2pa.Settings.from_dict(_OFFLINE))


def _from_reader(reader: Any) -> Provenance:
    manifest = reader.get_active_manifest() or {}
    results = (reader.get_validation_results() or {}).get("activeManifest", {})
    failures = [entry for entry in results.get("failure", []) if entry.get("code") != _NO_TRUST_LIST]
    actions = [
        action
        for assertion in manifest.get("assertions", [])
        if str(assertion.get("label", "")).startswith("c2pa.actions")
        for action in assertion.get("data", {}).get("actions", [])
    ]
    generators = [str(info.get("name", "")) for info in manifest.get("claim_generator_info", [])]
    fits = reader.get_validation_state() in ("Valid", "Trusted")
    return Provenance(
        state="valid" if fits else "invalid",
        signer=manifest.get("signature_info", {}).get("issuer"),
        generator=", ".join(filter(None, generators)) or None,
        actions=_unique(str(action.get("action", "")) for action in actions),
        source_types=_unique(str(action.get("digitalSourceType", "")).rsplit("/", 1)[-1] for action in actions),
        problems=_unique(str(entry.get("explanation", entry.get("code"))) for entry in failures),
    )


def _unique(words: Any) -> tuple[str, ...]:
    return tuple(dict.fromkeys(word for word in words if word))


def in_words(provenance: Provenance | None) -> str:
    """One sentence for a report."""
    if provenance is None:
        return (
            "Content credentials (C2PA) were not looked for. That takes the extra provenance: "
            'pip install -e ".[provenance]" in the project folder.'
        )
    if provenance.state == "none":
        return "The file has no content credentials (C2PA). Most files have none: their absence is not evidence."
    if provenance.state == "unreadable":
        return f"Content credentials could not be read: {provenance.problems[0]}."
    said = [f"made with {provenance.generator}"] if provenance.generator else []
    said += [f"actions: {', '.join(provenance.actions)}"] if provenance.actions else []
    said += [f"source: {', '.join(provenance.source_types)}"] if provenance.source_types else []
    signer = provenance.signer or "an unnamed signer"
    if provenance.state == "valid":
        head = f"Content credentials of {signer} fit the file (the signer was not checked against a list)"
    else:
        head = f"Content credentials of {signer} do NOT fit the file ({'; '.join(provenance.problems)})"
    return f"{head}{': ' + '; '.join(said) if said else ''}."
