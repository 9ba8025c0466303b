"""AP@IoU and AR@N of forged segments: a metric of the `evaluate` library around this package's own function."""

from typing import Any

import datasets
import evaluate

from modeling_macbdf.evaluation.localisation import localisation_metrics


class Localisation(evaluate.Metric):
    """Compute it as `compute(predictions=, references=)`, one entry a clip."""

    def _info(self) -> evaluate.MetricInfo:
        rows = datasets.List(datasets.List(datasets.Value("float64")))
        return evaluate.MetricInfo(
            description="ActivityNet's AP at IoU 0.5, 0.75, 0.95 and mean recall of the best 5, 10, 20, 50 proposals.",
            citation="",
            inputs_description="predictions: [[start_s, end_s, confidence], ...]; references: [[start_s, end_s], ...]",
            features=datasets.Features({"predictions": rows, "references": rows}),
        )

    def _compute(self, predictions: Any, references: Any) -> dict[str, float]:
        found = [[(start, end, confidence) for start, end, confidence in clip] for clip in predictions]
        return localisation_metrics(found, [[(start, end) for start, end in clip] for clip in references])
