"""The gallery: people and their embeddings, kept safe and found quickly.

``Gallery.open(path, create=True)`` opens one; photos come in through `enroll_photos` and
`import_folder`, which need a `limner.faces.FaceAnalyzer`.
"""

from limner.gallery.file import GALLERY_VARIABLE, default_location
from limner.gallery.gallery import Gallery
from limner.gallery.records import (
    CalibrationReport,
    EnrolledPhoto,
    EnrollResult,
    ExportNote,
    FarFace,
    GalleryInfo,
    ImportReport,
    LookAlike,
    Person,
    PhotoProblem,
    PhotoRef,
    ReembedReport,
    ReviewedPhoto,
    TransferReport,
)
from limner.gallery.store import OnConflict, Store

__all__ = [
    "GALLERY_VARIABLE",
    "CalibrationReport",
    "EnrollResult",
    "EnrolledPhoto",
    "ExportNote",
    "FarFace",
    "Gallery",
    "GalleryInfo",
    "ImportReport",
    "LookAlike",
    "OnConflict",
    "Person",
    "PhotoProblem",
    "PhotoRef",
    "ReembedReport",
    "ReviewedPhoto",
    "Store",
    "TransferReport",
    "default_location",
]
