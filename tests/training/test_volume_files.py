"""Volumes from npz, NIfTI, DICOM and videos, checked against what was written."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from toy_scans import write_nifti, write_slice, write_turned

from limner.errors import InputError, UnknownNameError
from limner.training import volume_options
from limner.training.volume_files import fit_cube, read_volume, read_volumes, volume_parts
from limner.training.volume_options import VolumeOptions


def ramp(*shape: int) -> np.ndarray:
    return np.arange(np.prod(shape), dtype=np.float32).reshape(shape)


def canonical(path):
    """nibabel's own RAS, then depth upwards, height backwards, width to the left."""
    nibabel = pytest.importorskip("nibabel")
    image = nibabel.as_closest_canonical(nibabel.load(path))
    return np.asarray(image.dataobj, np.float32).swapaxes(0, 2)[:, ::-1, ::-1]


def test_nifti_gives_its_own_values(tmp_path):
    values = ramp(4, 5, 6)
    path = write_nifti(tmp_path / "a.nii.gz", values)
    assert np.array_equal(read_volume(path)[0], canonical(path))
    assert read_volume(path).shape == (1, 6, 5, 4)


def test_an_anisotropic_nifti_keeps_the_body_s_proportions(tmp_path):
    """Half as many slices, twice as thick: a cube in millimetres fills the cube of voxels."""
    body = np.ones((8, 16, 16), np.float32)
    thick = write_nifti(tmp_path / "a.nii", body, zooms=(2.0, 1.0, 1.0))
    thin = write_nifti(tmp_path / "b.nii", body)
    assert read_volume(thick, options=VolumeOptions(side=16)).min() == 1
    flat = read_volume(write_nifti(tmp_path / "c.nii", body - 0.5), options=VolumeOptions(side=16))
    assert flat.shape == (1, 16, 16, 16)
    path = write_nifti(tmp_path / "d.nii", ramp(8, 16, 16) + 5)
    padded = read_volume(path, options=VolumeOptions(side=16))
    assert (padded[0, ..., :4] == 5).all()
    assert (padded[0, ..., 12:] == 5).all()
    assert np.array_equal(padded[0, ..., 4:12], canonical(path))
    assert read_volume(thin).shape == (1, 16, 16, 8)


def test_a_four_dimensional_nifti_needs_a_frame(tmp_path):
    values = ramp(3, 4, 5, 2)
    path = write_nifti(tmp_path / "a.nii", values)
    with pytest.raises(
        InputError, match=r"is 4-D \(3 x 4 x 5 x 2\).*choose one of them, --frame 0 to 1"
    ):
        read_volume(path)
    second = write_nifti(tmp_path / "c.nii", values[..., 1])
    read = read_volume(path, options=VolumeOptions(frame=1))
    assert np.array_equal(read[0], canonical(second))
    with pytest.raises(InputError, match="has frames 0 to 1, got 2"):
        read_volume(path, options=VolumeOptions(frame=2))
    single = write_nifti(tmp_path / "b.nii", values[..., :1])
    first = write_nifti(tmp_path / "d.nii", values[..., 0])
    assert np.array_equal(read_volume(single)[0], canonical(first))


def test_a_volume_larger_than_allowed_is_refused_or_its_middle_read(tmp_path, monkeypatch):
    monkeypatch.setattr(volume_options, "MAX_VOXELS", 4 * 10 * 10)
    values = ramp(4, 31, 30)
    np.save(tmp_path / "a.npy", values)
    with pytest.raises(InputError, match="4 x 31 x 30 voxels, more than the 400"):
        read_volume(tmp_path / "a.npy")
    crop = VolumeOptions(larger="crop")
    assert np.array_equal(read_volume(tmp_path / "a.npy", options=crop)[0], values[:, 10:20, 10:20])
    # The same part of the body, whichever way it is stored.
    path = write_nifti(tmp_path / "a.nii", values)
    middle = read_volume(path, options=crop)
    assert np.array_equal(middle[0], canonical(path)[10:20, 10:20, :])
    turned = write_turned(path, tmp_path / "b.nii", "LPI")
    assert np.array_equal(read_volume(turned, options=crop), middle)


@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_values_that_are_not_finite_are_refused(tmp_path, bad):
    values = ramp(3, 4, 5)
    values[1, 2, 3] = bad
    with pytest.raises(InputError, match="1 values are NaN or infinite"):
        read_volume(write_nifti(tmp_path / "a.nii", values))


def test_dicom_slices_come_in_order_of_their_place_in_hounsfield_units(tmp_path):
    rng = np.random.default_rng(0)
    pixels = rng.integers(0, 1000, (5, 6, 7))
    for i, (name, place) in enumerate(zip("caebd", (3.0, 1.5, 6.0, 0.0, 4.5), strict=True)):
        write_slice(tmp_path / f"{name}.dcm", pixels[i], place=place)
    (tmp_path / "notes.txt").write_text("not a slice")
    read = read_volume(tmp_path)
    order = [3, 1, 0, 4, 2]
    assert np.array_equal(read[0], pixels[order] * 2.0 - 1000)
    # 1.5 mm apart, pixels of 0.5 mm: 5 slices are 7.5 mm, 6 and 7 pixels 3 and 3.5 mm.
    cube = read_volume(tmp_path, options=VolumeOptions(side=15))
    filled = (cube[0] > cube.min()).any(axis=(1, 2)), (cube[0] > cube.min()).any(axis=(0, 2))
    assert filled[0].all()
    assert filled[1].sum() == 6


def test_dicom_without_places_goes_by_number_and_mixtures_are_refused(tmp_path):
    for number in (3, 1, 2):
        write_slice(tmp_path / f"{9 - number}", np.full((4, 4), number), place=None, number=number)
    assert read_volume(tmp_path)[0, :, 0, 0].tolist() == [-998, -996, -994]
    write_slice(tmp_path / "other", np.zeros((4, 4)), place=None, number=4, series="9.9")
    with pytest.raises(InputError, match="mixes 2 series"):
        read_volume(tmp_path)
    empty = tmp_path / "empty"
    empty.mkdir()
    (empty / "a.txt").write_text("x")
    with pytest.raises(InputError, match="no DICOM slices"):
        read_volume(empty)


def test_a_real_ct_slice_reads_as_pydicom_reads_it(tmp_path):
    pydicom = pytest.importorskip("pydicom")
    from pydicom.data import get_testdata_file

    path = get_testdata_file("CT_small.dcm", download=False)
    (tmp_path / "ct.dcm").write_bytes(Path(path).read_bytes())
    data = pydicom.dcmread(path)
    expected = data.pixel_array * float(data.RescaleSlope) + float(data.RescaleIntercept)
    assert np.array_equal(read_volume(tmp_path)[0, 0], expected.astype(np.float32))


def test_a_video_is_height_by_width_by_time(tmp_path):
    av = pytest.importorskip("av")
    path = tmp_path / "a.mkv"
    with av.open(str(path), "w") as container:
        stream = container.add_stream("ffv1", rate=10)
        stream.width, stream.height, stream.pix_fmt = 32, 24, "gray"
        for level in range(6):
            frame = np.full((24, 32), 40 * level, np.uint8)
            for packet in stream.encode(av.VideoFrame.from_ndarray(frame, format="gray")):
                container.mux(packet)
        for packet in stream.encode():
            container.mux(packet)
    read = read_volume(path)
    assert read.shape == (1, 6, 24, 32)
    assert read[0, :, 5, 5].tolist() == [0, 40, 80, 120, 160, 200]
    # Time is no length: every side is brought to the cube by itself.
    assert read_volume(path, options=VolumeOptions(side=12)).min(axis=(0, 2, 3))[-1] > 180
    path.write_bytes(b"no video")
    with pytest.raises(InputError, match="cannot be read as a video"):
        read_volume(path)


def test_a_cube_of_means_when_shrinking():
    volume = np.random.default_rng(1).random((1, 8, 8, 8)).astype(np.float32)
    small = fit_cube(volume, 4)
    expected = volume.reshape(1, 4, 2, 4, 2, 4, 2).mean(axis=(2, 4, 6))
    assert np.allclose(small, expected, atol=1e-6)
    assert fit_cube(volume, 8) is not volume
    assert np.array_equal(fit_cube(volume, 8), volume)


def test_a_folder_with_one_folder_a_class(tmp_path):
    for kind, level in (("full", 9.0), ("half", 5.0)):
        (tmp_path / kind).mkdir()
        for i in range(2):
            np.save(tmp_path / kind / f"{i}.npy", np.full((8, 8, 8), level + i, np.float32))
    (tmp_path / "half" / "notes.txt").write_text("passed over")
    read = read_volumes(tmp_path, options=VolumeOptions(side=8))
    assert read.classes == ("full", "half")
    assert read.values[:, 0, 0, 0, 0].tolist() == [9, 10, 5, 6]
    assert volume_parts(tmp_path) == ()
    with pytest.raises(InputError, match="one folder a class"):
        read_volumes(tmp_path / "half")
    with pytest.raises(InputError, match="is a single file without a label"):
        read_volumes(tmp_path / "half" / "0.npy")
    with pytest.raises(InputError, match="does not exist"):
        read_volumes(tmp_path / "none")


def test_an_npz_with_parts(tmp_path):
    arrays = {}
    for part, count in (("train", 4), ("test", 2)):
        arrays[f"{part}_images"] = np.full((count, 8, 8, 8), count, np.uint8)
        arrays[f"{part}_labels"] = np.arange(count)[:, None] % 2
    np.savez(tmp_path / "a.npz", **arrays)
    assert volume_parts(tmp_path / "a.npz") == ("train", "test")
    assert len(read_volumes(tmp_path / "a.npz", part="test")) == 2
    resized = read_volumes(tmp_path / "a.npz", part="train", options=VolumeOptions(side=10))
    assert resized.shape == (1, 10, 10, 10)
    assert np.allclose(resized.values, 4)
    with pytest.raises(InputError, match="has no array val_values"):
        read_volumes(tmp_path / "a.npz", part="val")
    np.savez(tmp_path / "b.npz", train_images=arrays["train_images"])
    with pytest.raises(InputError, match="has no labels"):
        read_volumes(tmp_path / "b.npz")
    np.savez(tmp_path / "c.npz", values=np.zeros((2, 3)), labels=np.arange(2))
    with pytest.raises(InputError, match=r"must have shape \(N, D, H, W\)"):
        read_volumes(tmp_path / "c.npz")


def test_options_are_checked():
    with pytest.raises(InputError, match="between 8 and 512, got 4"):
        VolumeOptions(side=4)
    with pytest.raises(UnknownNameError, match="'refuse' or 'crop'"):
        VolumeOptions(larger="shrink")  # type: ignore[arg-type]
    with pytest.raises(InputError, match="0 or larger, got -1"):
        VolumeOptions(frame=-1)


def test_the_head_of_a_person_reads_as_it_is(shared_data):
    nibabel = pytest.importorskip("nibabel")
    path = shared_data / "volumes" / "colin27" / "ch2bet.nii.gz"
    whole = np.asarray(nibabel.load(path).dataobj, np.float32)
    assert np.array_equal(read_volume(path)[0], canonical(path))
    cube = read_volume(path, options=VolumeOptions(side=31))
    # 181 x 217 x 181 mm: 26 x 31 x 26 voxels of 7 mm, and the same mean of the body.
    assert cube.shape == (1, 31, 31, 31)
    filled = [(cube[0] > 0).any(axis=axes).sum() for axes in ((1, 2), (0, 2), (0, 1))]
    assert filled[1] > max(filled[0], filled[2])
    assert abs(cube.sum() * 7**3 / whole.sum() - 1) < 0.02
