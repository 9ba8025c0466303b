"""MACB-DF: an audio-visual deepfake detector on the Hugging Face stack.

Importing the package registers the model with the Auto classes of transformers, and the pipeline. Both `AutoModel` and
`AutoModelForVideoClassification` give the detector: a headless one would serve nobody.
"""

from transformers import (
    AutoConfig,
    AutoFeatureExtractor,
    AutoImageProcessor,
    AutoModel,
    AutoModelForVideoClassification,
    AutoProcessor,
)
from transformers.pipelines import PIPELINE_REGISTRY

from .configuration_macbdf import MACBDFAudioConfig, MACBDFConfig, MACBDFLiteVideoConfig, MACBDFVideoConfig
from .feature_extraction_macbdf import MACBDFFeatureExtractor
from .image_processing_macbdf import MACBDFImageProcessor
from .modeling_macbdf import MACBDFForClassification, MACBDFModel, MACBDFModelOutput, MACBDFOutput
from .pipeline import TASK, DeepfakeDetectionPipeline
from .processing_macbdf import MACBDFProcessor

__version__ = "0.1.0"

for _config in (MACBDFConfig, MACBDFVideoConfig, MACBDFLiteVideoConfig, MACBDFAudioConfig):
    AutoConfig.register(_config.model_type, _config, exist_ok=True)
AutoModel.register(MACBDFConfig, MACBDFForClassification, exist_ok=True)
AutoModelForVideoClassification.register(MACBDFConfig, MACBDFForClassification, exist_ok=True)
AutoImageProcessor.register(MACBDFConfig, image_processor_classes={"pil": MACBDFImageProcessor}, exist_ok=True)
AutoFeatureExtractor.register(MACBDFConfig, MACBDFFeatureExtractor, exist_ok=True)
AutoProcessor.register(MACBDFConfig, MACBDFProcessor, exist_ok=True)
PIPELINE_REGISTRY.register_pipeline(TASK, DeepfakeDetectionPipeline, pt_model=AutoModel, type="multimodal")

__all__ = [
    "DeepfakeDetectionPipeline",
    "MACBDFAudioConfig",
    "MACBDFConfig",
    "MACBDFFeatureExtractor",
    "MACBDFForClassification",
    "MACBDFImageProcessor",
    "MACBDFLiteVideoConfig",
    "MACBDFModel",
    "MACBDFModelOutput",
    "MACBDFOutput",
    "MACBDFProcessor",
    "MACBDFVideoConfig",
]
