"""Moving pictures: flow, flicker, and files."""

from __future__ import annotations

import contextlib
import sys
from fractions import Fraction

import numpy as np
import pytest
from PIL import Image

from limner.errors import ImageError, InputError, MissingExtraError, ShapeError
from limner.images import write
from limner.style import video, video_files


@pytest.fixture(scope="module")
def photo(shared_data):
    from limner.images import read_float

    return read_float(shared_data / "contents" / "tubingen.png")


def panning(photo, count=5, step=(2, 3), size=(120, 160)):
    return [
        photo[100 + step[0] * i : 100 + step[0] * i + size[0], 100 + step[1] * i :][:, : size[1]]
        for i in range(count)
    ]


class Flickering:
    """A stylizer that never gives the same grain twice."""

    def __init__(self):
        self.rng = np.random.default_rng(0)

    def __call__(self, frame):
        grain = self.rng.normal(0, 0.1, frame.shape)
        return np.clip(0.25 + frame / 2 + grain, 0, 1).astype(np.float32)


def test_warp_carries_a_picture():
    image = np.random.default_rng(0).random((40, 50, 3)).astype(np.float32)
    flow = np.zeros((40, 50, 2), np.float32)
    flow[..., 0], flow[..., 1] = 3, -2
    out = video.warp(image, flow)
    np.testing.assert_allclose(out[2:, :-3], image[:-2, 3:], atol=1e-5)
    assert out.min() >= image.min()
    assert out.max() <= image.max()
    assert np.array_equal(video.warp(image, np.zeros_like(flow)), image)


def test_motion_finds_a_pan(photo):
    old, new = panning(photo, 2)
    motion = video.Tracker().motion(old, new)
    trusted = motion.trust > 0.9
    assert trusted.mean() > 0.7
    # The camera moved right and down, so that a pixel lay further right and down before.
    flow = motion.flow_xy[trusted]
    assert np.median(np.abs(flow - np.array([3, 2], np.float32)), axis=0).max() < 0.3


def test_what_is_uncovered_is_not_trusted(photo):
    backs = [photo[:120, :160].copy() for _ in range(2)]
    backs[0][40:80, 40:80] = backs[1][40:80, 60:100] = photo[300:340, 300:340]
    motion = video.Tracker().motion(*backs)
    uncovered = motion.trust[44:76, 42:56]
    assert uncovered.mean() < 0.5
    assert motion.trust[:30].mean() > 0.9


def test_a_cut_keeps_nothing(photo):
    old, new = photo[:120, :160], photo[200:320, 300:460][::-1]
    assert video.Tracker().motion(old, new).trust.mean() < 0.4


def test_texture_flickers_less_and_does_not_smear(photo):
    frames = panning(photo, 8)
    out = list(video.stylize_frames(frames, Flickering()))
    assert out[0].flicker is out[0].alone_flicker is None
    steady = np.mean([f.flicker for f in out[3:]])
    alone = np.mean([f.alone_flicker for f in out[3:]])
    assert steady < 0.5 * alone
    # Averaging grain brings the result nearer to the picture without it, if nothing is smeared.
    clean = 0.25 + frames[-1] / 2
    errors = [np.abs(f - clean).mean() for f in (out[-1].image, Flickering()(frames[-1]))]
    assert errors[0] < 0.7 * errors[1]


def test_frame_by_frame_is_just_that(photo):
    frames = panning(photo, 3)
    out = list(video.stylize_frames(frames, Flickering(), steady=0))
    alone = Flickering()
    for frame, found in zip(frames, out, strict=True):
        assert np.array_equal(found.image, alone(frame))
    assert out[2].flicker == out[2].alone_flicker


def test_a_still_picture_does_not_flicker(photo):
    frames = [photo[:100, :100]] * 3
    out = list(video.stylize_frames(frames, lambda f: 1 - f))
    assert out[1].flicker == pytest.approx(0, abs=1e-3)


@pytest.mark.parametrize("size", [(8, 8), (20, 300)])
def test_frames_too_small_for_flow(size):
    frames = list(np.random.default_rng(0).random((3, *size, 3), np.float32))
    out = list(video.stylize_frames(frames, lambda f: f))
    assert [f.image.shape for f in out] == [(*size, 3)] * 3


def test_bad_input_is_refused(photo):
    with pytest.raises(InputError, match="steady"):
        video.stylize_frames([], Flickering(), steady=1.0)
    frames = [photo[:64, :64], photo[:65, :64]]
    with pytest.raises(ShapeError, match="one size"):
        list(video.stylize_frames(frames, Flickering()))


@pytest.mark.parametrize(
    ("name", "tolerance"),
    [("a.mp4", 0.03), ("a.webm", 0.03), ("a.avi", 0.05), ("a.gif", 0.06), ("a.png", 0.003)],
)
def test_a_clip_written_is_a_clip_read(tmp_path, photo, name, tolerance):
    frames = panning(photo, 4, size=(63, 81))
    with video_files.Writer(tmp_path / name, rate=Fraction(10)) as out:
        for frame in frames:
            out.add(frame)
    assert [p.name for p in tmp_path.iterdir()] == [name]
    assert video_files.is_moving(tmp_path / name)
    clip = video_files.open_clip(tmp_path / name)
    assert clip.rate == 10
    found = list(video_files.frames_of(clip))
    assert len(found) == 4
    for got, frame in zip(found, frames, strict=True):
        assert np.abs(got[:63, :81] / 255 - frame).mean() < tolerance


def test_a_folder_of_frames(tmp_path, photo):
    frames = panning(photo, 3)
    for i, frame in enumerate(frames):
        write(tmp_path / f"{i}.png", np.rint(frame * 255).astype(np.uint8))
    clip = video_files.open_clip(tmp_path)
    assert (clip.kind, clip.count, clip.rate) == ("folder", 3, 25)
    with video_files.Writer(tmp_path / "out", rate=clip.rate) as out:
        for frame in video_files.frames_of(clip):
            out.add(frame.astype(np.float32) / 255)
    found = sorted(p.name for p in (tmp_path / "out").iterdir())
    assert found == ["000001.png", "000002.png", "000003.png"]


def interrupted(path, photo):
    with video_files.Writer(path, rate=Fraction(5)) as out:
        out.add(photo[:64, :64])
        raise KeyboardInterrupt


def test_an_interrupted_file_leaves_nothing(tmp_path, photo):
    for name in ("a.mp4", "a.gif"):
        with pytest.raises(KeyboardInterrupt):
            interrupted(tmp_path / name, photo)
    assert list(tmp_path.iterdir()) == []


def test_unreadable_clips_are_refused(tmp_path):
    with pytest.raises(ImageError, match="does not exist"):
        video_files.open_clip(tmp_path / "none.mp4")
    with pytest.raises(ImageError, match="no pictures"):
        video_files.open_clip(tmp_path)
    for name in ("bad.mp4", "bad.gif"):
        (tmp_path / name).write_bytes(b"nothing of the kind")
        with pytest.raises(ImageError, match="can be read"):
            video_files.open_clip(tmp_path / name)
    with pytest.raises(ImageError, match="allowed are"):
        video_files.Writer(tmp_path / "a.xyz", rate=Fraction(5))


def test_a_video_cut_off_in_the_middle(tmp_path, photo):
    path = tmp_path / "a.mkv"
    with video_files.Writer(path, rate=Fraction(10)) as out:
        for frame in panning(photo, 8):
            out.add(frame)
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    found = []
    with contextlib.suppress(ImageError):
        found += video_files.frames_of(video_files.open_clip(path))
    assert len(found) < 8


def test_frames_of_another_size_are_refused(tmp_path, photo):
    with video_files.Writer(tmp_path / "a.gif", rate=Fraction(5)) as out:
        out.add(photo[:64, :64])
        with pytest.raises(ShapeError, match="one size"):
            out.add(photo[:64, :65])


def test_what_moves(tmp_path, photo):
    write(tmp_path / "still.png", np.zeros((5, 5, 3), np.uint8))
    assert not video_files.is_moving(tmp_path / "still.png")
    assert not video_files.is_moving(tmp_path / "none.gif")
    assert not video_files.is_moving(tmp_path / "a.jpg")
    assert video_files.is_moving("a.MP4")
    Image.new("RGB", (5, 5)).save(tmp_path / "one.gif")
    assert not video_files.is_moving(tmp_path / "one.gif")


def test_without_pyav_the_extra_is_named(monkeypatch, tmp_path):
    monkeypatch.setitem(sys.modules, "av", None)
    (tmp_path / "a.mp4").write_bytes(b"")
    with pytest.raises(MissingExtraError, match=r"limner\[video\]"):
        video_files.open_clip(tmp_path / "a.mp4")
    with pytest.raises(MissingExtraError, match=r"limner\[video\]"):
        video_files.Writer(tmp_path / "b.mp4", rate=Fraction(5))
