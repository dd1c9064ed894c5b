"""MLServer's custom runtime + ONNX Runtime, with JSON tensors of the Open Inference Protocol."""

from pathlib import Path

from mlserver import MLModel
from mlserver.codecs import NumpyCodec
from mlserver.types import InferenceRequest, InferenceResponse
from preprocessing import open_session


class Classifier(MLModel):
    async def load(self) -> bool:
        self.session = open_session(Path(self.settings.parameters.uri))
        return True

    async def predict(self, payload: InferenceRequest) -> InferenceResponse:
        batch = NumpyCodec.decode_input(payload.inputs[0])
        logits = self.session.run(None, {"pixel_values": batch})[0]
        return InferenceResponse(model_name=self.name, outputs=[NumpyCodec.encode_output("logits", logits)])
