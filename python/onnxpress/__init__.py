"""Save a trained image classifier as a folder that onnxpress serves."""

from .errors import SaveError
from .save import save

__version__ = "0.1.0"
__all__ = ["SaveError", "save"]
