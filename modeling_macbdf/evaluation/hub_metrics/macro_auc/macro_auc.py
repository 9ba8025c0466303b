"""Macro AUC over generators: a metric of the `evaluate` library around this package's own function."""

from typing import Any

import datasets
import evaluate
import numpy as np

from modeling_macbdf.evaluation.metrics import macro_auc


class MacroAUC(evaluate.Metric):
    """Macro AUC over generators. Compute it as `compute(predictions=, references=, generators=, sources=)`."""

    def _info(self) -> evaluate.MetricInfo:
        return evaluate.MetricInfo(
            description="Mean AUC of the generators, each against all reals; also with each source of reals alike.",
            citation="",
            inputs_description="predictions: rising with suspicion; references: 1 = fake, 0 = real",
            features=datasets.Features(
                {
                    "predictions": datasets.Value("float64"),
                    "references": datasets.Value("int64"),
                    "generators": datasets.Value("string"),
                    "sources": datasets.Value("string"),
                }
            ),
        )

    def _compute(self, predictions: Any, references: Any, generators: Any, sources: Any) -> dict[str, float]:
        labels, scores = np.asarray(references), np.asarray(predictions)
        plain, balanced = (macro_auc(labels, scores, generators, names) for names in (None, sources))
        return {"macro_auc": plain, "macro_auc_balanced": balanced}
