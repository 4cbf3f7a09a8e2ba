"""Faces: detect, align, embed.

``FaceAnalyzer().analyze(photo)`` returns the faces of a photo with their embeddings.
"""

from limner.faces.align import BoxCrop, Crop, LandmarkCrop, cut_chip, similarity_transform
from limner.faces.analyzer import FaceAnalyzer, PhotoFaces
from limner.faces.choosing import Pick, choose, sitters
from limner.faces.detect import Detector, YuNet
from limner.faces.embed import Embedder, FusedEmbedder, NetworkEmbedder, Reading
from limner.faces.load import load_embedder
from limner.faces.upright import Upright

__all__ = [
    "BoxCrop",
    "Crop",
    "Detector",
    "Embedder",
    "FaceAnalyzer",
    "FusedEmbedder",
    "LandmarkCrop",
    "NetworkEmbedder",
    "PhotoFaces",
    "Pick",
    "Reading",
    "Upright",
    "YuNet",
    "choose",
    "cut_chip",
    "load_embedder",
    "similarity_transform",
    "sitters",
]
