"""Equal error rate: a metric of the `evaluate` library around this package's own function."""

from typing import Any

import datasets
import evaluate
import numpy as np

from modeling_macbdf.evaluation.metrics import equal_error_rate


class EqualErrorRate(evaluate.Metric):
    """Equal error rate. Compute it as `compute(predictions=, references=)`."""

    def _info(self) -> evaluate.MetricInfo:
        return evaluate.MetricInfo(
            description="The error rate where false alarms and misses are equally frequent.",
            citation="",
            inputs_description="predictions: rising with suspicion; references: 1 = fake, 0 = real",
            features=datasets.Features(
                {
                    "predictions": datasets.Value("float64"),
                    "references": datasets.Value("int64"),
                }
            ),
        )

    def _compute(self, predictions: Any, references: Any) -> dict[str, float]:
        return {"eer": equal_error_rate(np.asarray(references), np.asarray(predictions))}
