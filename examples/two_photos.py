"""Are these two photos of one person? The whole of verification in a few lines.

Run: python examples/two_photos.py a.jpg b.jpg
"""

from __future__ import annotations

import sys

from limner import FaceAnalyzer
from limner.faces import choose
from limner.similarity import shipped


def main(a: str, b: str) -> int:
    """Print the verdict; return 0 for the same person and 1 for two."""
    analyzer = FaceAnalyzer()
    left, right = (choose(analyzer.analyze(photo), photo=photo)[0] for photo in (a, b))
    calibration = shipped(analyzer.embedder_id)
    if calibration is None or left.embedding is None or right.embedding is None:
        raise SystemExit("limner ships no calibration for this embedder.")
    pair = calibration.head.judge(left.embedding.vector, right.embedding.vector)
    print(f"{pair.verdict}: distance {pair.distance:.3f}, threshold {pair.threshold:.3f}")
    print(f"The probability rests on {calibration.fitted_on}.")
    return 0 if pair.verdict == "same" else 1


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:3]))
