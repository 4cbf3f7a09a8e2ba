"""Network architectures, and nothing else: no weights, no files, no downloads.

`inception_resnet.InceptionResNetV1` and `dlib_resnet.DlibResNet` are torch modules; the
modules here are imported by name, so that importing `limner.nets` does not import torch.
"""
