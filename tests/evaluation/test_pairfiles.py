"""Reading files of pairs."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from limner.errors import ProtocolError
from limner.evaluation.pairfiles import read_pairs

VIEW2 = "2\t1\nAnn\t1\t2\nAnn\t1\tBob Lee\t1\nBob Lee\t1\t3\nAnn\t2\tCid\t7\n"


def written(tmp_path: Path, text: str | bytes) -> Path:
    path = tmp_path / "pairs.txt"
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    return path


def test_view2(tmp_path: Path) -> None:
    pairs = read_pairs(written(tmp_path, VIEW2))
    assert pairs.form == "lfw-view2"
    assert pairs.has_folds
    assert pairs.same.tolist() == [True, False, True, False]
    assert pairs.fold.tolist() == [0, 0, 1, 1]
    names = [p.path for p in pairs.photos]
    assert names[:3] == ["Ann/Ann_0001", "Ann/Ann_0002", "Bob Lee/Bob Lee_0001"]
    assert [names[k] for k in pairs.left] == ["Ann/Ann_0001"] * 2 + [names[2], "Ann/Ann_0002"]
    assert len(set(names)) == len(names) == 5
    assert len(pairs) == 4


@pytest.mark.parametrize("head", ["", "1\n", "\ufeff1\n", "1 \r\n"])
def test_view1_with_and_without_count(head: str, tmp_path: Path) -> None:
    pairs = read_pairs(written(tmp_path, head + "Ann\t1\t2\nAnn\t1\tBob\t3\n"))
    assert pairs.form == "lfw-view1"
    assert not pairs.has_folds
    assert pairs.same.tolist() == [True, False]


def test_spaces_instead_of_tabs(tmp_path: Path) -> None:
    pairs = read_pairs(written(tmp_path, "Ann 1 2\n\nAnn 1  Bob 3\n"))
    assert len(pairs) == 2


@pytest.mark.parametrize("head", ["path1,path2,same,fold\n", ""])
def test_csv(head: str, tmp_path: Path) -> None:
    text = head + 'a.jpg,b/c.png,1,x\n"d, e.jpg", a.jpg ,different,y\n'
    pairs = read_pairs(written(tmp_path, text))
    assert pairs.form == "csv"
    assert [p.path for p in pairs.photos] == ["a.jpg", "b/c.png", "d, e.jpg"]
    assert pairs.same.tolist() == [True, False]
    assert pairs.fold.tolist() == [0, 1]


def test_csv_without_folds(tmp_path: Path) -> None:
    pairs = read_pairs(written(tmp_path, "path1,path2,same\na,b,1\na,c,0\n"))
    assert not pairs.has_folds


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "holds no pairs"),
        ("\n \n", "holds no pairs"),
        ("10\t300\n", r"has 0 pairs; its first line promises 10 x 600 = 6,000"),
        ("1\t1\nAnn\t1\t2\n", "has 1 pairs"),
        ("1\t1\nAnn\t1\tBob\t2\nAnn\t1\t2\n", r"line 2: wanted 'name i j', got"),
        ("1\t1\nAnn\t1\t2\nAnn\t1\t3\n", r"line 3: wanted 'name1 i name2 j', got"),
        ("0\t5\n", "line 1: the counts must be at least 1"),
        (
            "Ann\t1\t2\nAnn\tone\tBob\t1\n",
            "line 2: a photo's number must be .*, got 'one'",
        ),
        ("Ann\t0\t2\n", "got '0'"),
        ("Ann\t1\t1\n", r"line 1: a pair must be of two photos, got 'Ann_0001' twice"),
        ("Ann\t1\tAnn\t2\n", "names 'Ann' twice"),
        ("../etc\t1\t2\n", "must name a folder"),
        ("Ann\n", "line 1: wanted"),
        ("just some text\nthat is no pairs file at all\n", "line 1"),
        ("Ann\t1\t2\n", "holds no pair of two people"),
        ("Ann\t1\tBob\t2\n", "holds no pair of one person"),
        ("a,b,1\na,c\n", "line 2: wanted 3 fields, got 2"),
        ("a,b,1\na,c,0,4\n", "line 2: wanted 3 fields, got 4"),
        ("a,b,1\na,c,maybe\n", "line 2: same must be 1 or 0, got 'maybe'"),
        ("a,b,1\n,c,0\n", "line 2: a path is empty"),
        ("a,b,1\na,a,0\n", "got 'a' twice"),
        (b"\xff\xfe\x00", "not text in UTF-8"),
    ],
)
def test_what_breaks_the_form(text: str | bytes, message: str, tmp_path: Path) -> None:
    path = written(tmp_path, text)
    with pytest.raises(ProtocolError, match=message) as caught:
        read_pairs(path)
    assert str(path) in str(caught.value)


def test_files_that_cannot_be_read(tmp_path: Path) -> None:
    with pytest.raises(ProtocolError, match="no such file"):
        read_pairs(tmp_path / "nowhere.txt")
    with pytest.raises(ProtocolError, match="is a directory"):
        read_pairs(tmp_path)


@given(st.binary(max_size=200))
def test_any_bytes(tmp_path_factory: pytest.TempPathFactory, data: bytes) -> None:
    path = tmp_path_factory.mktemp("any") / "pairs.txt"
    path.write_bytes(data)
    try:
        pairs = read_pairs(path)
    except ProtocolError:
        return
    assert len(pairs) >= 2


def test_locate(tmp_path: Path) -> None:
    pairs = read_pairs(written(tmp_path, VIEW2))
    root = tmp_path / "images"
    for name in (
        "Ann/Ann_0001.jpg",
        "Ann/Ann_0002.PNG".lower().replace("ann", "Ann"),
        "Bob Lee_0001.jpg",
    ):
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_bytes(b"")
    with pytest.raises(ProtocolError, match=r"2 of the 5 photos .*Bob Lee_0003, Cid/Cid_0007"):
        pairs.locate(root)
    (root / "Cid").mkdir()
    (root / "Cid/Cid_0007.webp").write_bytes(b"")
    (root / "Bob Lee").mkdir()
    (root / "Bob Lee/Bob Lee_0003.jpg").write_bytes(b"")
    found = pairs.locate(root)
    assert [p.name for p in found] == [
        "Ann_0001.jpg",
        "Ann_0002.png",
        "Bob Lee_0001.jpg",
        "Bob Lee_0003.jpg",
        "Cid_0007.webp",
    ]
    with pytest.raises(ProtocolError, match="not a folder"):
        pairs.locate(tmp_path / "nowhere")


def test_lfw(shared_data: Path) -> None:
    lfw = shared_data / "lfw"
    view2 = read_pairs(lfw / "pairs.txt")
    assert len(view2) == 6000
    assert np.bincount(view2.fold).tolist() == [600] * 10
    assert view2.same.reshape(10, 2, 300).all(axis=2).tolist() == [[True, False]] * 10
    assert len(view2.locate(lfw / "images")) == len(view2.photos) == 7701
    for name, count in (("pairsDevTrain.txt", 2200), ("pairsDevTest.txt", 1000)):
        view1 = read_pairs(lfw / name)
        assert (len(view1), int(view1.same.sum())) == (count, count // 2)
        view1.locate(lfw / "images")
