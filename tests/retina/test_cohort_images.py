"""The images that the command `segment` is given: which they are, their names and masks."""

import os
import re
from pathlib import Path

import pytest
from faked_segmenting import fake_segmenting
from hypothesis import given
from hypothesis import strategies as st

from torchattn_blocks.retina.cohort.images import (
    CohortImage,
    list_images,
    with_masks,
)
from torchattn_blocks.retina.cohort.outputs import Outputs
from torchattn_blocks.retina.data import folders
from torchattn_blocks.retina.data.folders import find_masks

KINDS = ("probability", "vessels", "fov", "overlay")
LAYOUTS = ("names", "folders")


@pytest.fixture
def tree(tmp_path):
    """A folder with images at several depths."""
    return touched(
        tmp_path / "eyes",
        *("b.png", "a.JPG", "notes.md", ".hidden.png", "._a.jpg", "1975/left.tif"),
        *("1975/deep/er/left.jpg", ".trash/c.png", "1975/.git/d.png"),
    )


def touched(root, *names):
    for name in names:
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).touch()
    return root


def found_in(given, out=Path("of no image"), **options):
    return list_images(given, out, **options)


def listed(*given, **options):
    return {image.name: image.path for image in found_in(given, **options)}


def from_list(path, content):
    path.write_bytes(content.encode() if isinstance(content, str) else content)
    return found_in([path])


@pytest.fixture
def arranged(tmp_path, monkeypatch):
    """Segmenting without a network, in a folder of its own."""
    monkeypatch.chdir(tmp_path)
    touched(tmp_path, "w.safetensors")
    return fake_segmenting(monkeypatch)


def test_a_folder_stands_for_its_own_images(tree):
    assert listed(tree) == {"a": tree / "a.JPG", "b": tree / "b.png"}


def test_a_tree_stands_for_all_but_hidden_images(tree, arbitrary_listing_order):
    years = [str(year) for year in range(1976, 1986)]
    touched(tree, *(f"{year}/0.png" for year in reversed(years)))
    names = ["a", "b", "1975/left", "1975/deep/er/left", *(f"{year}/0" for year in years)]
    assert list(listed(tree, recursive=True)) == names
    assert listed(tree, recursive=True)["1975/left"] == tree / "1975" / "left.tif"


def test_a_folder_that_looks_like_an_image_is_none(tree):
    touched(tree, "x.png/inner.png")
    assert "x" not in listed(tree)
    assert listed(tree, recursive=True)["x.png/inner"] == tree / "x.png" / "inner.png"


def test_a_hidden_folder_may_be_given_itself(tree):
    assert list(listed(tree / ".trash")) == ["c"]


def test_a_link_to_a_folder_above_gives_no_image_twice(tree):
    (tree / "1975" / "up").symlink_to(tree)
    assert len(listed(tree, recursive=True)) == 4


def test_images_come_in_the_order_given(tree):
    touched(tree.parent, "z.png")
    (tree / "list.txt").write_text("1975/left.tif\n")
    given = [tree.parent / "z.png", tree / "list.txt", tree]
    assert list(listed(*given)) == ["z", "1975/left", "a", "b"]


def test_only_the_last_ending_leaves_a_name(tmp_path):
    touched(tmp_path / "in", "a.1.png", "s.d/b.c.png")
    assert list(listed(tmp_path / "in", recursive=True)) == ["a.1", "s.d/b.c"]
    assert list(listed(tmp_path / "in" / "a.1.png")) == ["a.1"]
    (tmp_path / "list.csv").write_text("image\na.1.png\ns.d/b.c.png\n")
    assert list(listed(tmp_path / "list.csv")) == ["a.1", "s.d/b.c"]


def test_an_empty_folder_is_an_error_with_a_way_out(tree, tmp_path):
    touched(tmp_path / "set", "images/1.png", "labels/1.png", "deep/er/2.png")
    with pytest.raises(FileNotFoundError) as stop:
        found_in([tmp_path / "set"])
    assert str(stop.value) == (
        f"{tmp_path / 'set'}: this folder holds no image. Did you mean {tmp_path / 'set/images'}? "
        "With --recursive, the folders in it are searched too."
    )
    (tmp_path / "empty").mkdir()
    for recursive in (False, True):
        with pytest.raises(FileNotFoundError, match=r"empty: this folder holds no image\.$"):
            found_in([tmp_path / "empty"], recursive=recursive)


@pytest.mark.parametrize("name", ["nosuch.csv", "nosuch.txt", "nosuch.png", "no/such"])
def test_what_is_given_must_exist(name, tmp_path):
    with pytest.raises(FileNotFoundError, match=re.escape(f"{tmp_path / name}: this file does no")):
        found_in([tmp_path / name])


def test_files_in_lists_need_not_exist(tmp_path):
    [image] = from_list(tmp_path / "a.csv", "image,mask\nno/such.png,nor/this.png\n")
    assert image == ("no/such", tmp_path / "no/such.png", tmp_path / "nor/this.png")
    [image] = from_list(tmp_path / "a.txt", "no/such.png")
    assert image == ("no/such", tmp_path / "no/such.png", None)


@pytest.mark.parametrize("head", ["image", "path", "Image", " PATH ", "age,image", "path,image"])
def test_columns_of_a_list_are_found(head, tmp_path):
    columns = head.lower().replace(" ", "").split(",")
    cells = {"age": "50", "image": "x/eye.jpg", "path": "x/eye.jpg" if columns[1:] == [] else "y"}
    content = f"{head}\n{','.join(cells[column] for column in columns)}\n"
    assert from_list(tmp_path / "a.csv", content) == [("x/eye", tmp_path / "x/eye.jpg", None)]


def test_all_columns_of_a_list_are_taken(tmp_path):
    content = "name,row,mask,image\nme/1.x,7,m.png,e.png\n,8,,f.png\n"
    assert from_list(tmp_path / "a.csv", content) == [
        ("me/1.x", tmp_path / "e.png", tmp_path / "m.png"),
        ("f", tmp_path / "f.png", None),
    ]


@pytest.mark.parametrize("ending", ["\n", "\r\n"])
@pytest.mark.parametrize("bom", [b"", b"\xef\xbb\xbf"])
@pytest.mark.parametrize("last", [True, False])
def test_lists_of_any_editor_are_read(ending, bom, last, tmp_path):
    lines = ["é x,1.png", "", "  b.png  "]
    text = ending.join(lines) + ending * last
    names = ["é x,1", "b"]
    assert [i.name for i in from_list(tmp_path / "a.txt", bom + text.encode())] == names
    text = ending.join(["path", '"é x,1.png"', "", "  b.png  "]) + ending * last
    assert [i.name for i in from_list(tmp_path / "a.CSV", bom + text.encode())] == names


PLAIN = st.text(st.characters(categories=["L", "N", "P", "S"], exclude_characters='/"'), min_size=1)
NAMES = PLAIN.map(lambda text: f"{text}.png")


@given(names=st.lists(NAMES, min_size=1, unique=True))
def test_each_line_of_a_list_is_an_image(names, tmp_path_factory):
    folder = tmp_path_factory.mktemp("list")
    found = from_list(folder / "a.txt", "\n".join(names))
    assert [image.path for image in found] == [folder / name for name in names]
    assert [f"{image.name}.png" for image in found] == names
    quoted = "".join(f'"{name}"\n' for name in names)
    assert from_list(folder / "a.csv", f"image\n{quoted}") == found


@pytest.mark.parametrize("character", ["\x0b", "\x0c", "\x1c", "\x85", "\u2028"])
def test_only_line_breaks_end_a_line_of_a_list(character, tmp_path):
    found = from_list(tmp_path / "a.txt", f"a{character}b.png\n")
    assert [image.name for image in found] == [f"a{character}b"]


def test_paths_in_a_list_begin_in_its_folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    touched(tmp_path, "lists/here.png")
    elsewhere = tmp_path / "else" / "far.png"
    Path("lists/a.txt").write_text(f"here.png\n../data/up.png\n{elsewhere}\n./x/./y.png\n")
    assert found_in([Path("lists/a.txt")]) == [
        ("here", Path("lists/here.png"), None),
        ("data/up", Path("lists/../data/up.png"), None),
        ("far", elsewhere, None),
        ("x/y", Path("lists/x/y.png"), None),
    ]


PARTS = st.lists(st.sampled_from(["..", ".", "a", "b.c", "", "x.png"]), max_size=5).map("/".join)


@given(image=PARTS, name=PARTS, layout=st.sampled_from(LAYOUTS))
def test_no_name_leads_out_of_the_folder(image, name, layout, tmp_path_factory):
    folder = tmp_path_factory.mktemp("list")
    (folder / "a.csv").write_text(f"image,name\n{image}/eye.png,{name}\n")
    if name and not {*name.split("/")} - {"", ".", ".."}:
        with pytest.raises(ValueError, match="name must be that of a file"):
            found_in([folder / "a.csv"])
        return
    [found] = found_in([folder / "a.csv"])
    for file in Outputs(folder / "out", layout, KINDS).of(found.name):
        assert Path(os.path.normpath(file)).is_relative_to(folder / "out")
        assert ".." not in file.parts


@pytest.mark.parametrize("line", [".", "..", "/"])
def test_a_line_that_names_no_file_is_an_error_that_names_the_list(line, tmp_path):
    with pytest.raises(ValueError, match=r"a\.csv: row 2"):
        from_list(tmp_path / "a.csv", f"image\n{line}\n")


def test_a_name_that_is_no_name_is_an_error(tmp_path):
    with pytest.raises(ValueError, match=r"a\.csv: row 2"):
        from_list(tmp_path / "a.csv", "image,name\neye.png,..\n")


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("a.csv", "", "must have a column image or path, .*; got none"),
        ("a.csv", "eye.png\n", r"must have a column image or path, .*; got eye\.png"),
        ("a.csv", "a;image\n1;2\n", "got a;image"),
        ("a.csv", "image\n", "must have at least 1 row, got 0"),
        ("a.csv", "image,mask\na.png,\n\n,m.png\n", "row 4 has no image"),
        ("a.csv", "image,mask\na.png\nb.png,c,d\n", "row 3 has more cells"),
        ("a.csv", "image,Image\na,b\n", "two columns have the name image"),
        ("a.csv", "image\né\n".encode("utf-16"), "must be a CSV file in UTF-8"),
        ("a.txt", "é\n".encode("latin-1"), "must be a list of paths in UTF-8"),
        ("a.txt", " \n\n", "must have at least 1 path, got 0"),
    ],
)
def test_errors_name_the_list_and_the_row(name, content, message, tmp_path):
    with pytest.raises(ValueError, match=f"^{re.escape(str(tmp_path / name))}: .*{message}"):
        from_list(tmp_path / name, content)


def test_a_file_given_twice_is_one_image(tree, monkeypatch):
    monkeypatch.chdir(tree)
    (tree / "list.csv").write_text("image,name\na.JPG,other\n1975/left.tif,left\n")
    given = [tree / "a.JPG", Path("a.JPG"), Path(), tree / "list.csv", tree / "list.csv"]
    assert list(listed(*given)) == ["a", "b", "other", "left"]
    assert len(found_in([tree, tree / "1975"], recursive=True)) == 4


def test_a_file_given_twice_with_dots_is_one_image(tree):
    assert list(listed(tree / "a.JPG", tree / "1975" / ".." / "a.JPG")) == ["a"]


@pytest.mark.parametrize("names", [["a.png", "a.jpg"], ["x/a.png", "y/a.png"]])
def test_two_images_of_one_name_are_an_error(names, tmp_path):
    touched(tmp_path, *names)
    with pytest.raises(ValueError, match=r"must have different names .*got a more than once"):
        found_in([tmp_path / name for name in names])
    content = "".join(f"{name},{number}\n" for number, name in enumerate(names))
    assert [i.name for i in from_list(tmp_path / "a.csv", f"image,name\n{content}")] == ["0", "1"]


def test_stripped_dots_may_make_two_images_of_one_name(tmp_path):
    with pytest.raises(ValueError, match="got a/b more than once"):
        from_list(tmp_path / "a.txt", "../a/b.png\na/b.png\n")


def test_only_ten_equal_names_are_listed(tmp_path):
    touched(tmp_path, *(f"{place}/{n:02}.png" for place in "xy" for n in range(12)))
    with pytest.raises(ValueError, match=r"got 00, .*, 09, and 2 more more than once"):
        found_in([tmp_path / "x", tmp_path / "y"])


@pytest.mark.parametrize("broken", ["a\nb", "a\rb"])
def test_line_breaks_in_paths_are_refused(broken, tmp_path):
    touched(tmp_path, f"{broken}/c.png", f"{broken}.png")
    message = r"paths must have no line breaks, got '.*a\\[nr]b"
    for path in (f"{broken}.png", broken):
        with pytest.raises(ValueError, match=message):
            found_in([tmp_path / path])
    with pytest.raises(ValueError, match=message):
        from_list(tmp_path / "a.csv", f'image\n"{broken}.png"\n')


BREAKS = ["\r", "\n"]


@pytest.mark.parametrize("character", BREAKS)
def test_line_breaks_in_names_of_files_are_refused(character, tmp_path):
    touched(tmp_path / "in", f"a{character}b.png", "c.png")
    with pytest.raises(ValueError, match="paths must have no line breaks"):
        found_in([tmp_path / "in"])


@pytest.mark.parametrize("cells", ['a.png,"m\nn.png",x', 'a.png,m.png,"x\ny"'])
def test_line_breaks_in_masks_and_names_are_refused(cells, tmp_path):
    with pytest.raises(ValueError, match="line break"):
        from_list(tmp_path / "a.csv", f"image,mask,name\n{cells}\n")


WEIGHTS = ("--weights", "w.safetensors")


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize(("recursive", "out"), [(True, "in/s/runs"), (False, "in/s")])
def test_a_second_run_finds_the_same_images(layout, recursive, out, arranged, command):
    touched(Path("in"), "a.jpg", "s/b.jpg")
    given = ["segment", "in", "--out", out, "--layout", layout, *WEIGHTS]
    given += ["--recursive"] * recursive
    command(*given)
    first = [image.name for image in arranged]
    assert first == ["a", "s/b"][: 1 + recursive]
    count = len(first)
    assert f"{count} of {count} images are done already" in command(*given)
    assert len(arranged) == count


@pytest.mark.parametrize(
    ("given", "out"),
    [
        ("in", "in"),
        ("s/../in", "in"),
        ("link", "in"),
        ("in", "link"),
        ("in/fov", "in"),
    ],
)
@pytest.mark.parametrize("recursive", [[], ["--recursive"]])
def test_results_are_not_written_among_the_images(given, out, recursive, arranged, command):
    touched(Path(), "in/a.jpg", "in/fov/a.jpg", "s/x")
    Path("link").symlink_to("in")
    with pytest.raises(SystemExit, match=rf"--out must be another folder .*, got {out}$"):
        command("segment", given, "--out", out, *WEIGHTS, *recursive)
    assert arranged == []


def test_a_folder_of_results_in_a_tree_holds_no_images_first(arranged, command):
    touched(Path(), "in/a.jpg", "in/s/b.jpg")
    with pytest.raises(SystemExit, match=r"--out must be a folder without other images, got in/s"):
        command("segment", "in", "--recursive", "--out", "in/s", *WEIGHTS)


def test_outputs_of_other_options_are_no_images(arranged, command):
    touched(Path(), "in/a.jpg")
    for options in (["--layout", "folders"], ["--uncertainty", "2"], []):
        command("segment", "in", "--out", "in/maps", "--recursive", *WEIGHTS, *options)
    assert [image.name for image in arranged] == ["a"] * 3


def test_results_of_others_are_no_images(arranged, command):
    touched(Path(), "in/a.jpg", "in/s/b.jpg")
    command("segment", "in", "--out", "in/s/maps", *WEIGHTS)
    command("segment", "in", "--out", "elsewhere", "--recursive", *WEIGHTS)
    assert [image.name for image in arranged] == ["a", "a", "s/b"]
    with pytest.raises(SystemExit, match="in/s/maps: this folder holds results of segment"):
        command("segment", "in/s/maps", "--out", "elsewhere", *WEIGHTS)


def test_an_image_may_have_two_names(tmp_path):
    assert from_list(tmp_path / "a.csv", "image,name\ne.png,x\ne.png,y\ne.png,x\n") == [
        ("x", tmp_path / "e.png", None),
        ("y", tmp_path / "e.png", None),
    ]


def test_what_is_done_again_is_told(arranged, command):
    touched(Path("in"), "a.jpg", "b.jpg")
    given = ["segment", "in", "--out", "out", *WEIGHTS]
    assert "again" not in command(*given)
    Path("in/b.jpg").write_bytes(b"changed")
    assert "1 images are done again: options, weights" in command(*given)
    assert "2 images are done again: options, weights" in command(*given, "--flips")


def test_images_that_are_named_may_lie_beside_the_results(arranged, command):
    touched(Path(), "in/a.jpg", "in/a-fov.png")
    for _ in range(2):
        command("segment", "in/a.jpg", "--out", "in", *WEIGHTS)
    assert [image.name for image in arranged] == ["a"]


@pytest.mark.parametrize("layout", LAYOUTS)
def test_an_image_is_not_written_over(layout, arranged, command):
    path = {"names": "in/a-fov.png", "folders": "in/fov/a.png"}[layout]
    touched(Path(), "in/a.jpg", path)
    given = ["in/a.jpg", path] if layout == "names" else [path]
    options = ["--out", "in", "--layout", layout, *WEIGHTS]
    with pytest.raises(SystemExit, match=rf"--out must be another folder.* {path} would be wr"):
        command("segment", *given, *options)
    assert Path(path).read_bytes() == b""


def test_masks_of_a_folder_are_found_by_name(tmp_path):
    masks = touched(tmp_path / "m", "a.png", "b_MASK.gif", "notes.txt", ".c.png", "c-fov.png")
    images = [CohortImage(name, Path(f"{name}.jpg"), Path("old.png")) for name in "abc"]
    assert with_masks(images, masks) == [
        ("a", Path("a.jpg"), masks / "a.png"),
        ("b", Path("b.jpg"), masks / "b_MASK.gif"),
        ("c", Path("c.jpg"), masks / "c-fov.png"),
    ]


def test_masks_lie_in_folders_like_the_images(tmp_path):
    masks = touched(tmp_path / "m", "x/1.png", "y/1_mask.png", "x/y/1.png", "2.png", "1.png")
    images = [CohortImage(name, Path("i.jpg")) for name in ("x/1", "y/1", "x/y/1", "z/2", "1")]
    found = [image.mask.relative_to(masks).as_posix() for image in with_masks(images, masks)]
    assert found == ["x/1.png", "y/1_mask.png", "x/y/1.png", "2.png", "1.png"]


def test_one_mask_is_not_of_two_images(tmp_path):
    masks = touched(tmp_path / "m", "1.png")
    images = [CohortImage(name, Path(f"{name}.jpg")) for name in ("x/1", "y/1")]
    with pytest.raises((ValueError, FileNotFoundError)):
        with_masks(images, masks)


def test_images_without_masks_are_an_error(tmp_path):
    masks = touched(tmp_path / "m", "a.png", "x/a.png", "0.png")
    images = [CohortImage(name, Path(f"{name}.jpg")) for name in ("a", "b", "x/a", "x/0")]
    message = rf"^--masks {masks}: .* no field of view of b\.jpg, x/0\.jpg$"
    with pytest.raises(FileNotFoundError, match=message):
        with_masks(images, masks)


def test_two_masks_of_an_image_are_an_error(tmp_path):
    masks = touched(tmp_path / "m", "x/a_fov.png", "x/a-mask.png")
    with pytest.raises(ValueError, match=r"a-mask\.png and .*a_fov\.png: both fit a\.jpg"):
        with_masks([CohortImage("x/a", Path("a.jpg"))], masks)


def test_masks_take_the_place_of_those_in_a_list(tmp_path, arranged, command):
    touched(tmp_path, "a.jpg", "own.png", "m/a.png")
    Path("list.csv").write_text("image,mask\na.jpg,own.png\n")
    command("segment", "list.csv", *WEIGHTS, "--out", "1")
    command("segment", "list.csv", *WEIGHTS, "--masks", "m", "--out", "2")
    assert [image.mask for image in arranged] == [Path("own.png"), Path("m/a.png")]


def faked_files(monkeypatch, stems):
    """Let every folder have files of these stems."""
    files = {stem: Path(f"{stem}.png") for stem in stems}
    monkeypatch.setattr(folders, "find_files", lambda *_, **__: files)
    return files


PIECES = st.sampled_from(["fov", "mask", "ROI", "Fov", "_", "-", ".", " ", "a", "B", "é", "1"])
STEMS = st.lists(PIECES, min_size=1, max_size=6).map("".join)


@given(images=st.sets(STEMS, max_size=3), stems=st.sets(STEMS, max_size=6))
def test_a_mask_has_the_stem_of_its_image_and_perhaps_suffixes(images, stems):
    with pytest.MonkeyPatch.context() as patch:
        files = faked_files(patch, stems)
        expected = {}
        for stem in images:
            suffixed = re.compile(re.escape(stem) + r"([ _.-]?(fov|mask|roi))+", re.IGNORECASE)
            fitting = [file for name, file in files.items() if suffixed.fullmatch(name)]
            expected[stem] = [files[stem]] if stem in files else fitting
        for stem, fitting in expected.items():
            if len(fitting) > 1:
                with pytest.raises(ValueError, match="both fit"):
                    find_masks(Path(), {stem: Path(stem)})
            else:
                found = find_masks(Path(), {stem: Path(stem)})
                assert found == dict.fromkeys([stem][: len(fitting)], *fitting)


@pytest.mark.parametrize("separator", ["", " ", "_", ".", "-"])
@pytest.mark.parametrize("word", ["fov", "MASK", "Roi"])
def test_every_suffix_is_found(separator, word, tmp_path):
    suffix = separator + word
    for name in (f"Eye{suffix}.png", f"07{suffix}{suffix}.png", f"b{separator}{separator}fov.png"):
        touched(tmp_path, name)
    images = {"eye": Path("eye.jpg"), "07": Path("07.jpg")}
    found = find_masks(tmp_path, images | ({"b": Path("b.jpg")} if separator else {}))
    assert {stem: path.stem for stem, path in found.items()} == {
        "eye": f"Eye{suffix}",
        "07": f"07{suffix}{suffix}",
    }


@pytest.mark.timeout(60)  # it took hours when each image was compared with each file
def test_masks_of_very_many_images_are_found(monkeypatch):
    stems = [f"{n:05}_left" for n in range(20_000)]
    files = faked_files(monkeypatch, [f"{stem}_mask" for stem in stems])
    found = find_masks(Path(), {stem: Path(f"{stem}.jpg") for stem in stems})
    assert list(found) == stems
    assert list(found.values()) == list(files.values())


@pytest.mark.timeout(60)
def test_a_name_of_many_suffixes_is_no_riddle(monkeypatch):
    files = faked_files(monkeypatch, [f"a{'_fov' * 60}"])
    assert find_masks(Path(), {"a": Path("a.jpg")}) == dict(zip("a", files.values(), strict=True))
