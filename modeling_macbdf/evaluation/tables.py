"""An evaluation as Markdown: the model card and `--out` show the same tables."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

# Parts of a result of `macbdf evaluate` that its tables cannot do without; older results lack others.
NEEDED = (
    "dataset",
    "command",
    "bootstrap",
    "coverage",
    "metrics",
    "intervals",
    "worst_case",
    "streams",
    "by_generator",
)
_JUDGED_ON = {"scored": "picture and voice", "no_audio": "the picture alone", "no_video": "the voice alone"}


def evaluation_markdown(result: Mapping[str, Any], level: int = 2) -> str:
    """Coverage, metrics with intervals and worst case, streams, generators, categories and probes.

    Args:
        result: of `macbdf evaluate`; "about" is a sentence on the clips.
        level: of the heading.
    """
    covered = result["coverage"]
    parts = [
        f"{'#' * level} Results on {title_of(result)}",
        result.get("about", ""),
        f"{covered['scored']} of {covered['clips']} clips scored ({_counts(covered['by_status'])}). Intervals: 95 %, "
        f"{drawn_over(result['bootstrap'])}; a rate of 0 or 1 has the exact one of as many people.",
        _metrics(result),
        _answers(result.get("by_answer") or {}),
        _streams(result["streams"]),
        _generators(result["by_generator"]),
        _categories(result.get("by_category") or {}),
        _probes(result.get("probes") or {}),
        f"Command: `{result['command']}`",
    ]
    return "\n\n".join(part for part in parts if part) + "\n"


def drawn_over(draws: Mapping[str, Any]) -> str:
    """How the intervals of a result were made; results of earlier versions do not say how many there are to draw."""
    many = f" ({draws['clusters']} of them)" if "clusters" in draws else ""
    return f"{draws['resamples']} bootstrap draws over {draws['over']}{many}, seed {draws['seed']}"


def title_of(result: Mapping[str, Any]) -> str:
    """What a result is called: its "title", else the data set and its splits."""
    dataset = result["dataset"]
    return result.get("title") or " ".join([dataset["name"], *dataset["splits"]])


def table(header: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """A Markdown table."""
    lines = [header, ["---"] * len(header), *rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def number(value: float | None) -> str:
    """Three decimals, or a dash where there is none."""
    return "-" if value is None else f"{value:.3f}"


def interval(limits: Sequence[float] | None) -> str:
    """Both ends, or nothing."""
    return f"{limits[0]:.3f} to {limits[1]:.3f}" if limits else ""


def _counts(by_status: Mapping[str, int]) -> str:
    return ", ".join(f"{count} {name}" for name, count in by_status.items())


def _metrics(result: Mapping[str, Any]) -> str:
    worst, limits = result["worst_case"], result["intervals"]
    header = ("metric", "value", "interval", "unscored clips counted as wrong")
    rows = [(n, number(v), interval(limits.get(n)), number(worst.get(n))) for n, v in result["metrics"].items()]
    return table(header, rows)


def _answers(answers: Mapping[str, Any]) -> str:
    """What files were judged on, where that differs."""
    if len(answers) < 2:
        return ""
    rows = [
        (
            _JUDGED_ON.get(name, name),
            str(own["reals"]),
            str(own["fakes"]),
            number(own["auc"]),
            interval(own["interval"]),
        )
        for name, own in answers.items()
    ]
    return table(("judged on", "reals", "fakes", "AUC among them", "interval"), rows)


def _streams(streams: Mapping[str, Any]) -> str:
    words = [f"{name} alone {number(s['auc_against_clip'])} ({s['scored']} clips)" for name, s in streams.items()]
    return f"AUC of each stream's own answer against the clip's label: {', '.join(words)}."


def _generators(by_generator: Mapping[str, Any]) -> str:
    header = ("generator", "clips", "AUC", "AUC, reals balanced by source")
    rows = [(n, str(r["clips"]), number(r["auc"]), number(r["auc_balanced"])) for n, r in by_generator.items()]
    return table(header, rows) if rows else ""


def _categories(by_category: Mapping[str, Any]) -> str:
    header = ("streams", "clips", "scored", "right at even odds", "AUC against all reals")
    rows = [
        (name, str(row["clips"]), str(row["scored"]), number(row["accuracy"]), number(row["auc"]))
        for name, row in by_category.items()
    ]
    return table(header, rows) if rows else ""


def _probes(probes: Mapping[str, Any]) -> str:
    """The audit; the warnings stand below the table."""
    named = {name: probe for name, probe in probes.items() if isinstance(probe, Mapping) and "auc" in probe}
    header = ("probe", "AUC", "interval", "the model on the same clips", "clips", "what scores")
    rows = [
        (
            f"**{name}**" if probe["near"] else name,
            number(probe["auc"]),
            interval(probe.get("interval")),
            number(probe.get("model_auc")),
            str(probe["clips"]),
            probe.get("what", "") if probe["auc"] is not None else probe.get("reason", ""),
        )
        for name, probe in named.items()
    ]
    warned = "\n".join(f"- Warning: {sentence}." for sentence in probes.get("warnings", []))
    return "\n\n".join(part for part in (table(header, rows) if rows else "", _overlap(probes), warned) if part)


def _overlap(probes: Mapping[str, Any]) -> str:
    overlap = probes.get("identity_overlap")
    if not overlap:
        return ""
    if overlap["shared_people"] is None:
        return f"Identity overlap with the training data: unknown, {overlap['reason']}."
    return (
        f"Identity overlap with the training data: {overlap['shared_people']} of {overlap['people']} people, "
        f"{overlap['shared_clips']} clips; {overlap['clips_without_names']} clips name nobody."
    )
