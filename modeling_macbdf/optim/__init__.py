"""Gradient aggregation for several objectives: OM-Pareto, the rules it is compared with, and their gradients."""

from .baselines import MGDA, MMPareto, PCGrad
from .cut import Cut
from .feature_space import FeatureSpaceGradients
from .gradients import ObjectiveGradients, StepReport, pareto_backward
from .minnorm import min_norm_weights
from .pareto import OMPareto, PlainSum, Resolution, Rule
from .rows import gram_matrix

__all__ = [
    "MGDA",
    "Cut",
    "FeatureSpaceGradients",
    "MMPareto",
    "OMPareto",
    "ObjectiveGradients",
    "PCGrad",
    "PlainSum",
    "Resolution",
    "Rule",
    "StepReport",
    "gram_matrix",
    "min_norm_weights",
    "pareto_backward",
]
