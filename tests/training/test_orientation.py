"""The same body, however it is stored: one array, one answer."""

from __future__ import annotations

import itertools
from dataclasses import replace

import numpy as np
import pytest
from toy_scans import make_slice, write_nifti, write_series, write_turned

from limner.errors import InputError
from limner.training.array_fit import ArrayRecipe
from limner.training.array_model import load_model
from limner.training.distort import VolumeDistortion
from limner.training.volume_files import read_scan, read_volume, read_volumes
from limner.training.volume_options import VolumeOptions
from limner.training.volumes import classify_volume, read_for, train_volumes

SIDES = [[a, b] for a, b in ("RL", "AP", "SI")]
EVERY_WAY = [
    "".join(letters)
    for order in itertools.permutations(SIDES)
    for letters in itertools.product(*order)
]


def body(*, left: bool, rng, shape=(12, 13, 14)) -> np.ndarray:
    """A head in RAS axes with a bright spot in its left or right half."""
    x, y, z = np.meshgrid(*[np.linspace(-1, 1, n) for n in shape], indexing="ij")
    head = (x**2 + y**2 + z**2 < 0.9) * 40.0
    centre = -0.45 if left else 0.45  # x grows to the right
    spot = np.exp(-((x - centre) ** 2 + (y - 0.3) ** 2 + (z - 0.2) ** 2) / 0.05) * 100
    return (head + spot + rng.normal(0, 4, shape)).astype(np.float32)


def test_every_way_of_storing_a_body_gives_one_array(tmp_path):
    pytest.importorskip("nibabel")
    assert len(EVERY_WAY) == 48
    rng = np.random.default_rng(0)
    path = write_nifti(
        tmp_path / "a.nii", body(left=True, rng=rng, shape=(5, 6, 7)), zooms=(1, 2, 3)
    )
    first = read_scan(path)
    assert first.spacing == (3, 2, 1)
    for codes in EVERY_WAY:
        scan = read_scan(write_turned(path, tmp_path / "b.nii", codes))
        assert np.array_equal(scan.values, first.values)
        assert scan.spacing == first.spacing
        assert scan.stored == codes


def test_where_the_body_is_in_the_array(tmp_path):
    """Feet first, then front, then the patient's right: each corner by its millimetres."""
    values = np.zeros((5, 6, 7), np.float32)
    values[0, 5, 0] = 1  # RAS: left-most, front, lowest
    read = read_volume(write_nifti(tmp_path / "a.nii", values))[0]
    # lowest slice, front row, left-most column of the patient = last column
    assert np.argwhere(read).tolist() == [[0, 0, 4]]


def write_set(folder, count, *, codes, seed):
    rng = np.random.default_rng(seed)
    for number in range(count):
        for side in ("left", "right"):
            (folder / side).mkdir(parents=True, exist_ok=True)
            plain = folder / "plain.nii"
            write_nifti(plain, body(left=side == "left", rng=rng))
            write_turned(plain, folder / side / f"sub-{side}{number}.nii", codes)
            plain.unlink()
    return folder


@pytest.fixture(scope="module")
def sides(tmp_path_factory):
    """A classifier of left and right, trained on scans that lie RAS."""
    pytest.importorskip("nibabel")
    folder = tmp_path_factory.mktemp("sides")
    write_set(folder / "train", 10, codes="RAS", seed=1)
    write_set(folder / "test", 10, codes="RAS", seed=2)
    recipe = ArrayRecipe(
        epochs=6, batch=10, rate=1e-2, distortion=VolumeDistortion(flips="", shift=1)
    )
    report = train_volumes(
        folder / "train",
        test=folder / "test",
        options=VolumeOptions(side=12),
        recipe=recipe,
        width=4,
        out=folder / "model",
    )
    return report, folder


@pytest.mark.parametrize("codes", ["RAS", "LAS", "IPL", "PSR"])
def test_twenty_scans_are_right_however_they_are_stored(sides, tmp_path, codes):
    report, folder = sides
    assert report.figures.accuracy == 1
    model = load_model(folder / "model")
    assert model.net.layout.orientation == "SPL"
    answers = classify_volume(model, write_set(tmp_path / codes, 10, codes=codes, seed=2))
    assert len(answers) == 20
    assert sum(a.label == a.truth for a in answers) == 20
    assert [a.scores for a in answers] == [
        a.scores for a in classify_volume(model, folder / "test")
    ]


def test_scans_that_do_not_say_how_they_lie_are_said(sides, tmp_path):
    import nibabel

    report, folder = sides
    source = sorted((folder / "test" / "left").iterdir())[0]
    image = nibabel.load(source)
    image.header["sform_code"] = image.header["qform_code"] = 0
    silent = nibabel.Nifti1Image(np.asarray(image.dataobj), None, image.header)
    nibabel.save(silent, tmp_path / "silent.nii")
    assert read_scan(tmp_path / "silent.nii").orientation == ""
    asked = read_for(report.model, tmp_path / "silent.nii")
    assert "wrong where the body lies otherwise" in asked.notes[-1]
    assert read_for(report.model, source).notes == ()
    # an array says nothing either; and the other way round
    np.save(tmp_path / "a.npy", np.zeros((12, 12, 12), np.float32))
    assert read_for(report.model, tmp_path / "a.npy").notes
    unsaid = replace(report.model.net, layout=replace(report.model.net.layout, orientation=""))
    old = replace(report.model, net=unsaid)
    assert "need not be how those lay" in read_for(old, source).notes[-1]
    # mixed in one set: refused
    mixed = write_set(tmp_path / "mixed", 2, codes="RAS", seed=0)
    (tmp_path / "silent.nii").rename(mixed / "left" / "silent.nii")
    with pytest.raises(InputError, match=r"1 of 5 volumes do not say how the body lies.*silent"):
        read_volumes(mixed)


def test_scans_that_lay_differently_are_turned_and_said(tmp_path):
    pytest.importorskip("nibabel")
    folder = write_set(tmp_path, 2, codes="RAS", seed=0)
    one = folder / "left" / "sub-left0.nii"
    write_turned(one, one, "LAS")
    read = read_volumes(folder, options=VolumeOptions(side=12))
    assert "the volumes lay differently (3 RAS, 1 LAS); all were turned alike." in read.notes[0]
    assert read.groups == ("sub-left0", "sub-left1", "sub-right0", "sub-right1")


def test_one_ct_as_dicom_and_as_nifti_is_one_array(tmp_path):
    """Millimetres decide: every voxel of both lies where the other has it."""
    pixels = np.random.default_rng(5).integers(0, 800, (6, 7, 8))
    folder = write_series(tmp_path / "ct", pixels, step=2.0, spacing=(0.5, 0.25))
    # DICOM: x to the left, y to the back. NIfTI: to the right and the front.
    affine = np.array([[-0.25, 0, 0, 0], [0, -0.5, 0, 0], [0, 0, 2.0, 0], [0, 0, 0, 1]])
    hounsfield = (pixels * 2.0 - 1000).astype(np.float32)
    path = write_nifti(tmp_path / "ct.nii", hounsfield.transpose(2, 1, 0), affine=affine)
    turned = write_turned(path, tmp_path / "ras.nii", "RAS")
    as_dicom, as_nifti, as_ras = map(read_scan, (folder, path, turned))
    assert np.array_equal(as_dicom.values[0], hounsfield)
    assert np.array_equal(as_nifti.values, as_dicom.values)
    assert np.array_equal(as_ras.values, as_dicom.values)
    assert as_nifti.spacing == as_dicom.spacing == as_ras.spacing == (2.0, 0.5, 0.25)


def test_a_sagittal_and_an_axial_series_of_one_body_are_one_array(tmp_path):
    """A body sampled along its own planes: rows down and back, slices to the left."""
    pixels = np.random.default_rng(6).integers(0, 800, (6, 6, 6))  # (up, back, left)
    axial = write_series(tmp_path / "axial", pixels, step=1.0, spacing=(1, 1))
    sagittal = tmp_path / "sagittal"
    sagittal.mkdir()
    for i in range(6):  # slice i lies i mm to the left; its rows run down, its columns back
        data = make_slice(
            pixels[::-1, :, i], place=(i, 0, 5), spacing=(1, 1), turn=(0, 1, 0, 0, 0, -1)
        )
        data.save_as(sagittal / f"{i}", enforce_file_format=True)
    first, second = read_scan(axial), read_scan(sagittal)
    assert np.array_equal(first.values, second.values)
    assert first.stored == "SPL"
    assert second.stored == "RIP"  # slices are counted along rows x columns


@pytest.mark.parametrize("ending", [".mgz", ".hdr"])
def test_other_formats_of_nibabel_are_read(tmp_path, ending):
    nibabel = pytest.importorskip("nibabel")
    values = body(left=True, rng=np.random.default_rng(0), shape=(5, 6, 7))
    plain = read_scan(write_nifti(tmp_path / "a.nii", values))
    if ending == ".hdr":
        image = nibabel.Nifti1Pair(values, np.eye(4))
    else:
        image = nibabel.freesurfer.MGHImage(values, np.eye(4))
    nibabel.save(image, tmp_path / f"b{ending}")
    scan = read_scan(tmp_path / f"b{ending}")
    assert np.array_equal(scan.values, plain.values)
    assert scan.orientation == "SPL"
    analyze = nibabel.analyze.AnalyzeImage(values, np.eye(4))
    nibabel.save(analyze, tmp_path / "c.hdr")
    assert read_scan(tmp_path / "c.hdr").orientation == ""


def test_a_header_without_a_voxel_size_is_refused(tmp_path):
    path = write_nifti(tmp_path / "a.nii", np.zeros((4, 4, 4), np.float32))
    data = bytearray(path.read_bytes())
    data[296:312] = bytes(16)  # srow_y
    path.write_bytes(data)
    with pytest.raises(InputError, match=r"the size 1 x 0 x 1 mm, which is no size"):
        read_volume(path)


def test_what_is_missing_is_refused_or_filled(tmp_path):
    values = body(left=True, rng=np.random.default_rng(0), shape=(5, 6, 7))
    values[0] = np.nan  # outside the field of view, as SPM and FSL write it
    path = write_nifti(tmp_path / "a.nii", values)
    with pytest.raises(InputError, match=r"42 values are NaN.*--gaps fill"):
        read_volume(path)
    scan = read_scan(path, options=VolumeOptions(gaps="fill"))
    assert (scan.values[0, :, :, 4] == np.nanmin(values)).all()
    assert np.array_equal(scan.values[0, :, :, :4], values[1:, ::-1].transpose(2, 1, 0)[..., ::-1])
    assert "42 voxels are missing" in scan.notes[0]


def test_everything_in_a_class_folder_is_read_or_named(tmp_path):
    nibabel = pytest.importorskip("nibabel")
    rng = np.random.default_rng(0)
    for kind in ("a", "b"):
        folder = tmp_path / kind
        folder.mkdir()
        write_nifti(folder / "1.nii.gz", rng.random((8, 8, 8), np.float32))
        image = nibabel.freesurfer.MGHImage(rng.random((8, 8, 8), np.float32), np.eye(4))
        nibabel.save(image, folder / "2.mgz")
        nibabel.save(
            nibabel.Nifti1Pair(rng.random((8, 8, 8), np.float32), np.eye(4)), folder / "3.hdr"
        )
        write_series(
            folder / "ann" / "study" / "t1",
            rng.integers(0, 9, (4, 4, 4)),
            series=f"1.{ord(kind)}",
            patient=f"ann-{kind}",
        )
        make_slice(rng.integers(0, 9, (8, 8)), place=0, series=f"2.{ord(kind)}").save_as(
            folder / "single.dcm", enforce_file_format=True
        )
        (folder / "bob").mkdir()
        (folder / "bob" / "scan.mha").write_bytes(b"x")
        (folder / "notes.txt").write_text("x")
    read = read_volumes(tmp_path, options=VolumeOptions(side=8))
    assert read.counts() == {"a": 5, "b": 5}
    assert "4 files are no volumes" in read.notes[0]
    for name in ("a/notes.txt", "a/bob/scan.mha", "b/notes.txt", "b/bob/scan.mha"):
        assert name in read.notes[0]
    assert "a/ann/study/t1" in read.names
    (tmp_path / "none" / "only").mkdir(parents=True)
    (tmp_path / "none" / "only" / "scan.mha").write_bytes(b"x")
    with pytest.raises(InputError, match=r"no labelled volumes.*left out: only/scan.mha"):
        read_volumes(tmp_path / "none")


def test_asking_for_one_file_says_the_real_reason(sides, tmp_path):
    from typer.testing import CliRunner

    from limner.cli.main import app

    _, folder = sides
    (tmp_path / "scan.mha").write_bytes(b"x")
    model = ["--model", str(folder / "model")]
    done = CliRunner().invoke(app, ["classify", "volume", str(tmp_path / "scan.mha"), *model])
    assert done.exit_code == 2
    assert "is no volume that can be read; known are NIfTI" in done.output
    pixels = np.random.default_rng(0).integers(0, 9, (8, 8))
    make_slice(pixels, place=0).save_as(tmp_path / "a.dcm", enforce_file_format=True)
    done = CliRunner().invoke(app, ["classify", "volume", str(tmp_path / "a.dcm"), *model])
    assert done.exit_code == 0, done.output
    assert "a.dcm" in done.output
