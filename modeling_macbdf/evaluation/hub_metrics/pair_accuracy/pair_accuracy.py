"""Pair accuracy: a metric of the `evaluate` library around this package's own function."""

from typing import Any

import datasets
import evaluate
import numpy as np

from modeling_macbdf.evaluation.metrics import pair_accuracy


class PairAccuracy(evaluate.Metric):
    """Pair accuracy. Compute it as `compute(predictions=, references=, pairs=)`."""

    def _info(self) -> evaluate.MetricInfo:
        return evaluate.MetricInfo(
            description="Share of matched pairs whose fake scores above its original; a tie counts half.",
            citation="",
            inputs_description="predictions: rising with suspicion; references: 1 = fake, 0 = real",
            features=datasets.Features(
                {
                    "predictions": datasets.Value("float64"),
                    "references": datasets.Value("int64"),
                    "pairs": datasets.Value("string"),
                }
            ),
        )

    def _compute(self, predictions: Any, references: Any, pairs: Any) -> dict[str, float]:
        return {"pair_accuracy": pair_accuracy(np.asarray(references), np.asarray(predictions), pairs)}
