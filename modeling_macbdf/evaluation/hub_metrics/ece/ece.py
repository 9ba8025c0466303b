"""Expected calibration error: a metric of the `evaluate` library around this package's own function."""

from typing import Any

import datasets
import evaluate
import numpy as np

from modeling_macbdf.evaluation.metrics import expected_calibration_error


class ExpectedCalibrationError(evaluate.Metric):
    """Expected calibration error. Compute it as `compute(predictions=, references=, bins=)`."""

    def _info(self) -> evaluate.MetricInfo:
        return evaluate.MetricInfo(
            description="Mean distance between stated probability and observed share of fakes over equal-width bins.",
            citation="",
            inputs_description="predictions: rising with suspicion; references: 1 = fake, 0 = real",
            features=datasets.Features(
                {
                    "predictions": datasets.Value("float64"),
                    "references": datasets.Value("int64"),
                }
            ),
        )

    def _compute(self, predictions: Any, references: Any, bins: int = 10) -> dict[str, float]:
        return {"ece": expected_calibration_error(np.asarray(references), np.asarray(predictions), bins)}
