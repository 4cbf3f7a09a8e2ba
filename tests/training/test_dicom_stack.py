"""Series that are no single body, and DICOM of every packing: corrected, or refused in words."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest
from toy_scans import make_slice, write_series, write_slice

from limner.errors import InputError, MissingExtraError
from limner.training import dicom
from limner.training.volume_files import read_scan, read_volume, read_volumes
from limner.training.volume_options import VolumeOptions

pydicom = pytest.importorskip("pydicom")

PIXELS = np.random.default_rng(3).integers(0, 900, (10, 8, 9))
HOUNSFIELD = (PIXELS * 2.0 - 1000).astype(np.float32)


def test_two_time_points_at_the_same_places_need_a_frame(tmp_path):
    later = PIXELS + 50
    write_series(tmp_path, PIXELS, tags={"TemporalPositionIdentifier": 1})
    for i, pixels in enumerate(later):
        write_slice(
            tmp_path / f"b{i}", pixels, place=i * 2.0, tags={"TemporalPositionIdentifier": 2}
        )
    with pytest.raises(InputError, match=r"2 different slices at each of its 10 places.*--frame 0"):
        read_volume(tmp_path)
    assert np.array_equal(read_volume(tmp_path, options=VolumeOptions(frame=0))[0], HOUNSFIELD)
    second = read_volume(tmp_path, options=VolumeOptions(frame=1))[0]
    assert np.array_equal(second, HOUNSFIELD + 100)
    with pytest.raises(InputError, match="--frame 0 to 1, got 2"):
        read_volume(tmp_path, options=VolumeOptions(frame=2))
    (tmp_path / "b3").unlink()
    with pytest.raises(InputError, match=r"1 slices at some places and 2 at others"):
        read_volume(tmp_path, options=VolumeOptions(frame=0))


@pytest.mark.parametrize("new_uids", [False, True])
def test_every_file_twice_is_read_once(tmp_path, new_uids):
    write_series(tmp_path, PIXELS)
    for path in list(tmp_path.iterdir()):
        if new_uids:
            data = pydicom.dcmread(path)
            data.SOPInstanceUID = pydicom.uid.generate_uid()
            data.save_as(tmp_path / f"copy-{path.name}")
        else:
            shutil.copy(path, tmp_path / f"copy-{path.name}")
    scan = read_scan(tmp_path)
    assert np.array_equal(scan.values[0], HOUNSFIELD)
    assert scan.spacing == (2.0, 0.5, 0.5)
    assert "10 slices are copies of others" in scan.notes[0]


def test_missing_slices_are_refused_or_filled(tmp_path):
    write_series(tmp_path, PIXELS)
    for path in list(tmp_path.iterdir()):
        if pydicom.dcmread(path).ImagePositionPatient[2] in (8, 10, 12):
            path.unlink()
    with pytest.raises(InputError, match=r"it is 8 mm, elsewhere 2 mm, as if 3 were missing"):
        read_volume(tmp_path)
    scan = read_scan(tmp_path, options=VolumeOptions(gaps="fill"))
    kept = [i for i in range(10) if i not in (4, 5, 6)]
    assert np.array_equal(scan.values[0][kept], HOUNSFIELD[kept])
    for share, i in ((0.25, 4), (0.5, 5), (0.75, 6)):
        straight = HOUNSFIELD[3] * (1 - share) + HOUNSFIELD[7] * share
        assert np.allclose(scan.values[0][i], straight, atol=1e-3)
    assert "gaps between slices were filled" in scan.notes[0]


def test_a_tilted_gantry_is_put_upright(tmp_path):
    """A ball, sampled along slices that a table carries straight while they lie askew."""
    angle = np.radians(20)
    rows, columns, count, step = 60, 60, 40, 1.5
    column_way = np.array([0, np.cos(angle), -np.sin(angle)])
    centre, radius = np.array([30.0, 35.0, 20.0]), 14.0
    truth = np.zeros(count)
    for i in range(count):
        start = np.array([0, 0, i * step])  # the table moves along z alone
        r, c = np.meshgrid(np.arange(rows), np.arange(columns), indexing="ij")
        places = start + r[..., None] * column_way + c[..., None] * np.array([1.0, 0, 0])
        inside = ((places - centre) ** 2).sum(axis=-1) < radius**2
        truth[i] = inside.sum()
        write_slice(
            tmp_path / f"{i}",
            inside * 500,
            place=start,
            spacing=(1, 1),
            turn=(1, 0, 0, *column_way),
        )
    scan = read_scan(tmp_path)
    assert "askew by 20.0 degrees" in scan.notes[0]
    values = scan.values[0] > -500
    assert scan.spacing == pytest.approx((step * np.cos(angle), 1, 1), abs=1e-6)
    # A ball is as wide as it is high and deep, and its slices are concentric.
    where = np.argwhere(values) * np.array(scan.spacing)
    assert where.std(axis=0) == pytest.approx([radius / 5**0.5] * 3, rel=0.03)
    middles = np.array([np.argwhere(v).mean(axis=0) for v in values if v.sum() > 30])
    assert np.abs(middles - middles.mean(axis=0)).max() < 0.6
    correlation = np.corrcoef(where.T)
    assert np.abs(correlation[np.triu_indices(3, 1)]).max() < 0.02


def test_slices_that_do_not_belong_together_are_refused(tmp_path):
    cases = {
        "scout": ({"turn": (1, 0, 0, 0, 0, -1)}, r"1 of 11 slices lie in another orientation"),
        "patient": ({"patient": "P2"}, r"1 of 11 slices are of another patient, such as odd"),
        "spacing": ({"spacing": (0.7, 0.7)}, r"1 of 11 slices have another PixelSpacing"),
        "series": ({"series": "9.9", "tags": {"SeriesNumber": 4}}, r"mixes 2 series.*--series"),
    }
    for name, (change, words) in cases.items():
        folder = write_series(tmp_path / name, PIXELS)
        write_slice(folder / "odd", PIXELS[0], place=20.0, **change)
        with pytest.raises(InputError, match=words):
            read_volume(folder)
    folder = write_series(tmp_path / "size", PIXELS)
    write_slice(folder / "odd", PIXELS[0, :, :5], place=20.0)
    with pytest.raises(InputError, match="1 of 11 slices have another size"):
        read_volume(folder)
    folder = write_series(tmp_path / "unplaced", PIXELS)
    write_slice(folder / "odd", PIXELS[0], place=None, number=11)
    with pytest.raises(InputError, match="1 of 11 slices do not say where they lie, such as odd"):
        read_volume(folder)


def test_one_of_two_series_is_chosen_by_number_words_or_uid(tmp_path):
    folder = tmp_path / "a" / "ann" / "study"
    tags = {"SeriesNumber": 2, "SeriesDescription": "T1 axial"}
    write_series(folder, PIXELS, series="1.2", tags=tags)
    write_series(folder, PIXELS + 1, series="1.3", tags={"SeriesNumber": 3})
    with pytest.raises(InputError, match=r"mixes 2 series.*--series: 2 \(T1 axial\), 3"):
        read_volume(folder)
    for word in ("2", "T1 axial", "1.2"):
        assert np.array_equal(
            read_volume(folder, options=VolumeOptions(series=word))[0], HOUNSFIELD
        )
    with pytest.raises(InputError, match="has no series 'T2'; it has 2"):
        read_volume(folder, options=VolumeOptions(series="T2"))
    # In a set, folders without that series are passed over, and named.
    write_series(tmp_path / "b" / "bea" / "study", PIXELS, series="1.9", tags=tags, patient="P2")
    write_series(tmp_path / "b" / "cid" / "study", PIXELS, series="2.9", patient="P3")
    read = read_volumes(tmp_path, options=VolumeOptions(side=8, series="T1 axial"))
    assert read.names == ("a/ann/study", "b/bea/study")
    assert "left out: b/cid/study" in read.notes[0]
    assert read.groups == ("P1", "P2")
    assert read.grouped_by == "patient"


def test_numbers_order_slices_without_places(tmp_path):
    for number in (3, 1, 0, 2):
        write_slice(
            tmp_path / f"{9 - number}",
            np.full((4, 4), number),
            place=None,
            number=number,
            tags={"SliceThickness": 5.0},
        )
    scan = read_scan(tmp_path)
    assert scan.values[0, :, 0, 0].tolist() == [-1000, -998, -996, -994]
    assert scan.spacing == (5.0, 0.5, 0.5)
    assert scan.orientation == ""
    write_slice(
        tmp_path / "x", np.zeros((4, 4)), place=None, number=7, tags={"SliceThickness": 5.0}
    )
    with pytest.raises(InputError, match="as if 3 were missing"):
        read_volume(tmp_path)
    plain = tmp_path / "plain"
    plain.mkdir()
    for name in "ab":
        write_slice(plain / name, np.zeros((4, 4)), place=None)
    with pytest.raises(InputError, match=r"neither where they lie .* nor what number"):
        read_volume(plain)


def test_pixels_without_a_size_are_refused(tmp_path):
    write_series(tmp_path, PIXELS, spacing=(0, 0))
    with pytest.raises(InputError, match=r"the size 0 x 0 mm \(PixelSpacing\)"):
        read_volume(tmp_path)


def test_files_without_the_preamble_are_read_and_others_counted(tmp_path):
    write_series(tmp_path, PIXELS)
    for path in list(tmp_path.iterdir()):
        data = pydicom.dcmread(path)
        bare = pydicom.Dataset({e.tag: e for e in data})
        bare.save_as(path, implicit_vr=path.name.startswith("000"), little_endian=True)
        assert path.read_bytes()[128:132] != b"DICM"
    (tmp_path / "notes.txt").write_text("\x08 is not a tag")
    scan = read_scan(tmp_path)
    assert np.array_equal(scan.values[0], HOUNSFIELD)
    assert "1 files are no DICOM slices and were left out: notes.txt" in scan.notes[0]


def enhanced(pixels, *, step=2.0):
    """One file for all slices, as enhanced CT has it, in an order of its own."""
    from pydicom.dataset import Dataset
    from pydicom.sequence import Sequence
    from pydicom.uid import EnhancedCTImageStorage

    data = make_slice(pixels[0], place=None)
    data.file_meta.MediaStorageSOPClassUID = data.SOPClassUID = EnhancedCTImageStorage
    for name in ("PixelSpacing", "RescaleSlope", "RescaleIntercept"):
        delattr(data, name)
    order = np.random.default_rng(1).permutation(len(pixels))
    shared, measures, turn, value = Dataset(), Dataset(), Dataset(), Dataset()
    measures.PixelSpacing, measures.SliceThickness = [0.5, 0.5], step
    turn.ImageOrientationPatient = [1, 0, 0, 0, 1, 0]
    value.RescaleSlope, value.RescaleIntercept = 2, -1000
    shared.PixelMeasuresSequence = Sequence([measures])
    shared.PlaneOrientationSequence = Sequence([turn])
    shared.PixelValueTransformationSequence = Sequence([value])
    data.SharedFunctionalGroupsSequence = Sequence([shared])
    frames = []
    for i in order:
        frame, place = Dataset(), Dataset()
        place.ImagePositionPatient = [0, 0, float(i) * step]
        frame.PlanePositionSequence = Sequence([place])
        frames.append(frame)
    data.PerFrameFunctionalGroupsSequence = Sequence(frames)
    data.NumberOfFrames = len(pixels)
    data.PixelData = pixels[order].astype("<i2").tobytes()
    return data


def test_an_enhanced_file_is_the_volume_that_its_slices_are(tmp_path):
    enhanced(PIXELS).save_as(tmp_path / "e.dcm", enforce_file_format=True)
    scan = read_scan(tmp_path / "e.dcm")
    assert np.array_equal(scan.values[0], HOUNSFIELD)
    assert scan.spacing == (2.0, 0.5, 0.5)
    assert scan.orientation == "SPL"


def test_a_dose_grid_lies_by_its_offsets(tmp_path):
    data = make_slice(PIXELS[0], place=(0, 0, 7))
    data.NumberOfFrames, data.GridFrameOffsetVector = 10, [3.0 * i for i in range(10)][::-1]
    data.DoseGridScaling = 0.5
    del data.RescaleSlope, data.RescaleIntercept
    data.PixelData = PIXELS.astype("<i2").tobytes()
    data.save_as(tmp_path / "dose.dcm", enforce_file_format=True)
    scan = read_scan(tmp_path / "dose.dcm")
    assert np.array_equal(scan.values[0], PIXELS[::-1] * 0.5)
    assert scan.spacing == (3.0, 0.5, 0.5)


@pytest.mark.parametrize(
    "name", ["MR_small_jpeg_ls_lossless", "MR_small_jp2klossless", "MR_small_RLE"]
)
def test_compressed_slices_are_what_the_uncompressed_are(name):
    pytest.importorskip("libjpeg")
    pytest.importorskip("openjpeg")
    from pydicom.data import get_testdata_file

    read = read_volume(get_testdata_file(f"{name}.dcm", download=False))
    plain = read_volume(get_testdata_file("MR_small.dcm", download=False))
    assert np.array_equal(read, plain)


def test_lossless_jpeg_is_decoded():
    """pydicom brings it in colour alone: the decoder gives the pixels, the reader refuses."""
    pytest.importorskip("libjpeg")
    from pydicom.data import get_testdata_file

    path = Path(get_testdata_file("SC_rgb_jpeg_gdcm.dcm", download=False))
    other = pydicom.dcmread(get_testdata_file("SC_rgb_rle.dcm", download=False))
    assert np.array_equal(dicom._decode(path), other.pixel_array)
    with pytest.raises(InputError, match=r"no single grey slice: its pixels have shape \(100"):
        read_volume(path)


def test_a_decoder_that_is_missing_is_named_with_its_extra(tmp_path, monkeypatch):
    from pydicom.data import get_testdata_file
    from pydicom.pixels import decoders

    path = get_testdata_file("MR_small_jpeg_ls_lossless.dcm", download=False)
    monkeypatch.setattr(type(decoders.JPEGLSLosslessDecoder), "is_available", False)
    with pytest.raises(MissingExtraError, match=r"JPEG-LS.*pip install 'limner\[dicom\]'"):
        read_volume(path)


def test_what_is_dicom_is_told_by_its_bytes(tmp_path):
    (tmp_path / "a").write_bytes(b"\x08\x00\x05\x00CS")
    assert not dicom.is_dicom(tmp_path / "a")
    (tmp_path / "b").write_bytes(b"hello, this is a text of more than eight bytes")
    assert not dicom.is_dicom(tmp_path / "b")
    assert not dicom.is_dicom(tmp_path / "none")
