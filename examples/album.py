"""Who is in the photos of a folder? Prints a CSV table: photo, person, distance.

Run: python examples/album.py friends.limner holiday/
The gallery is made by `limner enroll` or `limner gallery import`.
"""

from __future__ import annotations

import csv
import sys

from limner import FaceAnalyzer, Gallery
from limner.images import list_photos


def main(gallery_path: str, folder: str) -> None:
    """Print one row a face; photos that cannot be read are told on standard error."""
    table = csv.writer(sys.stdout)
    table.writerow(["photo", "person", "distance"])
    analyzer = FaceAnalyzer()
    with Gallery.open(gallery_path, embedder_id=analyzer.embedder_id) as gallery:
        # analyze_many keeps all cores busy and a bounded number of photos in memory.
        for found in analyzer.analyze_many(list_photos(folder), on_error="yield"):
            if found.error is not None:
                print(found.error, file=sys.stderr)
                continue
            embeddings = [face.embedding for face in found.faces or () if face.embedding]
            for match in gallery.identify(embeddings):
                table.writerow([found.photo, match.person or "", match.distance])


if __name__ == "__main__":
    main(*sys.argv[1:3])
