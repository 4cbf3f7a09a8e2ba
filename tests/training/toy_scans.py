"""Small scans as scanners and converters write them: NIfTI, DICOM slice by slice, enhanced."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest


def write_nifti(path, values, zooms=(1.0, 1.0, 1.0), affine=None):
    nibabel = pytest.importorskip("nibabel")
    given = np.diag([*zooms, 1.0]) if affine is None else affine
    nibabel.save(nibabel.Nifti1Image(values, given), path)
    return path


def write_turned(source, path, codes):
    """Store a scan anew with its axes in other directions: the same body, by nibabel."""
    import nibabel
    from nibabel.orientations import axcodes2ornt, io_orientation, ornt_transform

    image = nibabel.load(source, mmap=False)  # it may be written over
    turn = ornt_transform(io_orientation(image.affine), axcodes2ornt(tuple(codes)))
    nibabel.save(image.as_reoriented(turn), path)
    return path


AXIAL = (1, 0, 0, 0, 1, 0)


def make_slice(
    pixels,
    *,
    place,
    number=None,
    series="1.2.3",
    spacing=(0.5, 0.5),
    turn=AXIAL,
    patient="P1",
    tags=None,
):
    """Return one CT slice; `place` is millimetres along the third axis, a position, or None."""
    pydicom = pytest.importorskip("pydicom")
    from pydicom.dataset import FileMetaDataset
    from pydicom.uid import CTImageStorage, ExplicitVRLittleEndian, generate_uid

    meta = FileMetaDataset()
    meta.MediaStorageSOPClassUID = CTImageStorage
    meta.MediaStorageSOPInstanceUID = generate_uid()
    meta.TransferSyntaxUID = ExplicitVRLittleEndian
    data = pydicom.Dataset()
    data.file_meta = meta
    data.SOPClassUID, data.SOPInstanceUID = CTImageStorage, meta.MediaStorageSOPInstanceUID
    data.SeriesInstanceUID, data.PatientID = series, patient
    data.Rows, data.Columns = pixels.shape
    data.BitsAllocated = data.BitsStored = 16
    data.HighBit, data.PixelRepresentation, data.SamplesPerPixel = 15, 1, 1
    data.PhotometricInterpretation = "MONOCHROME2"
    data.PixelSpacing = list(spacing)
    data.RescaleSlope, data.RescaleIntercept = 2, -1000
    if place is not None:
        data.ImagePositionPatient = [0, 0, place] if np.isscalar(place) else list(place)
        data.ImageOrientationPatient = list(turn)
    if number is not None:
        data.InstanceNumber = number
    for name, value in (tags or {}).items():
        setattr(data, name, value)
    data.PixelData = pixels.astype("<i2").tobytes()
    return data


def write_slice(path, pixels, **how):
    data = make_slice(pixels, **how)
    Path(path).parent.mkdir(parents=True, exist_ok=True)
    data.save_as(path, enforce_file_format=True)


def write_series(folder, pixels, *, step=2.0, start=0.0, **how):
    """Write slices `step` millimetres apart, in files whose names say nothing."""
    folder.mkdir(parents=True, exist_ok=True)
    order = np.random.default_rng(len(pixels)).permutation(len(pixels))
    for name, i in enumerate(order):
        place = start + float(i) * step
        write_slice(folder / f"{name:03d}{how.get('series', '')}", pixels[i], place=place, **how)
    return folder
