"""Hits at a bound on false alarms: a metric of the `evaluate` library around this package's own function."""

from typing import Any

import datasets
import evaluate
import numpy as np

from modeling_macbdf.evaluation.metrics import tpr_at_fpr


class TruePositivesAtFalsePositives(evaluate.Metric):
    """Hits at a bound on false alarms. Compute it as `compute(predictions=, references=, max_fpr=)`."""

    def _info(self) -> evaluate.MetricInfo:
        return evaluate.MetricInfo(
            description="The largest share of fakes found while at most max_fpr of the reals are called fake.",
            citation="",
            inputs_description="predictions: rising with suspicion; references: 1 = fake, 0 = real",
            features=datasets.Features(
                {
                    "predictions": datasets.Value("float64"),
                    "references": datasets.Value("int64"),
                }
            ),
        )

    def _compute(self, predictions: Any, references: Any, max_fpr: float = 0.05) -> dict[str, float]:
        return {"tpr_at_fpr": tpr_at_fpr(np.asarray(references), np.asarray(predictions), max_fpr)}
