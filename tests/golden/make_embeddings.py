"""Make the golden chips and embeddings: `python tests/golden/make_embeddings.py`.

The chips are cut, without resizing, from scikit-image's astronaut (NASA, public domain).
The facenet vector comes from the Keras graph evaluated in numpy (keras_graph.py), the dlib
vector from dlib's own C++ (dlib-bin). Neither uses limner's networks.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

import dlib
import numpy as np
import skimage
from PIL import Image

from limner import weights

sys.path.insert(0, str(Path(__file__).parent))
from keras_graph import evaluate, standardise

FOLDER = Path(__file__).parent


def main() -> None:
    """Write astronaut_160.png, astronaut_150.png and embeddings.json."""
    photo = skimage.data.astronaut()
    facenet_chip = np.ascontiguousarray(photo[20:180, 145:305])
    dlib_chip = np.ascontiguousarray(photo[25:175, 150:300])
    Image.fromarray(facenet_chip).save(FOLDER / "astronaut_160.png")
    Image.fromarray(dlib_chip).save(FOLDER / "astronaut_150.png")
    files = {}
    for name in ("facenet", "dlib"):
        spec = weights.load(name).spec
        files[name] = weights.model_dir(spec) / spec.file
    recognise = dlib.face_recognition_model_v1(str(files["dlib"]))
    vectors = {
        "facenet": evaluate(files["facenet"], standardise(facenet_chip)),
        "dlib": np.array(recognise.compute_face_descriptor(dlib_chip)),
    }
    golden = {
        name: {
            "chip": f"astronaut_{weights.spec(name).size_px}.png",
            "original_sha256": weights.spec(name).sha256,
            "made_with": "numpy float64" if name == "facenet" else f"dlib {dlib.__version__}",
            "embedding": [round(float(v), 8) for v in vector],
        }
        for name, vector in vectors.items()
    }
    (FOLDER / "embeddings.json").write_text(json.dumps(golden, indent=1) + "\n")


if __name__ == "__main__":
    main()
