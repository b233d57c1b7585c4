"""Which file of a folder is what. The files are empty: nothing is decoded here."""
import collections
import os

import pytest

from config import UserError
from datasets import layout


@pytest.fixture
def folder(tmp_path):
    return tmp_path / "pictures"


def fill(folder, *files):
    for file in files:
        (folder / file).parent.mkdir(parents=True, exist_ok=True)
        (folder / file).touch()


def arranged(folder, labels="", share=0.25, seed=1):
    """Of each file its class (None: unlabelled) and whether it is a test picture; and the problems by file."""
    problems = []
    plan = layout.arrange(folder, labels, share, seed, problems)
    names = (*plan.class_names, None)
    assert [picture.test for picture in plan.pictures] == sorted((p.test for p in plan.pictures), reverse=True)
    return {p.file: (names[p.label], p.test) for p in plan.pictures}, dict(problems), plan


def refused(folder, *args):
    with pytest.raises(UserError) as caught:
        arranged(folder, *args)
    assert len(str(caught.value).splitlines()) <= 2
    return str(caught.value)


def numbers(pattern, count=4):
    return [pattern.format(i) for i in range(count)]


@pytest.mark.parametrize("pattern", ["{}/{{}}.jpg", "{}/deeper/{{}}.jpg", "{}.{{}}.jpg", "{}_{{}}.png", "{}-00{{}}.JPG",
                                     "{} ({{}}).jpeg", "{}{{}}.webp"])
def test_folders_and_names_carry_the_class(folder, pattern):
    names = ("big_cat", "dog")
    files = {file: name for name in names for file in numbers(pattern.format(name))}
    fill(folder, *files)
    found, problems, plan = arranged(folder)
    assert {file: name for file, (name, _) in found.items()} == files
    assert problems == {}
    assert plan.class_names == names
    assert plan.held_out


def test_the_share_is_held_out_of_each_class_by_seed(folder):
    fill(folder, *numbers("cat/{}.jpg", 40), *numbers("dog/{}.jpg", 10), *numbers("unlabelled/{}.jpg", 7))
    tests = {}
    for seed in (1, 1, 2):
        found, _, _ = arranged(folder, "", 0.2, seed)
        held = {file for file, (_, test) in found.items() if test}
        assert collections.Counter(file[:3] for file in held) == {"cat": 8, "dog": 2}
        assert tests.setdefault(seed, held) == held
    assert tests[1] != tests[2]
    # At least one is held out and at least one is trained on.
    fill(folder, *numbers("cow/{}.jpg", 2))
    for share, dogs in ((0.001, 1), (0.9, 9)):
        found, _, _ = arranged(folder, "", share)
        held = collections.Counter(file[:3] for file, (_, test) in found.items() if test)
        assert (held["dog"], held["cow"]) == (dogs, 1)


def test_rows_are_mixed_by_seed(folder):
    fill(folder, *numbers("cat/{}.jpg", 40), *numbers("dog/{}.jpg", 40))
    orders = [[p.file for p in arranged(folder, "", 0.25, seed)[2].pictures] for seed in (1, 1, 2)]
    assert orders[0] == orders[1] != orders[2]
    assert 5 < sum(file.startswith("cat") for file in orders[0][20:50]) < 25


@pytest.mark.parametrize(("train", "test"), [("training", "testing"), ("Training_Set", "test_set"), ("train", "val"),
                                             ("labelled", "Validation")])
def test_other_names_of_parts(folder, train, test):
    fill(folder, *numbers(f"{train}/cat/{{}}.jpg"), *numbers(f"{train}/dog/{{}}.jpg"), f"{test}/cat/9.jpg")
    found, problems, plan = arranged(folder)
    assert (plan.class_names, plan.held_out, problems) == (("cat", "dog"), False, {})
    assert [file for file, (_, held) in found.items() if held] == [f"{test}/cat/9.jpg"]


def test_validation_pictures_are_no_test_pictures_beside_some(folder):
    fill(folder, *numbers("train/cat/{}.jpg"), *numbers("train/dog/{}.jpg"), "test/cat/9.jpg", "val/cat/8.jpg")
    found, problems, _ = arranged(folder)
    assert "val/cat/8.jpg" not in found
    assert problems == {"val/cat/8.jpg": "beside the folders labelled, unlabelled and test"}


@pytest.mark.parametrize(("paths", "expected"), [
    (["seg_train/cat/{}.jpg", "seg_train/dog/{}.jpg", "seg_test/cat/{}.jpg"], "would be classes"),
    (["seg_train/cat/{}.jpg", "seg_train/dog/{}.jpg"], "seg_train would be classes"),
    (["train/cat/{}.jpg", "train/dog/{}.jpg", "train/unlabelled/{}.jpg"], "unlabelled would be a class"),
    (["cat/train/{}.jpg", "cat/test/{}.jpg", "dog/train/{}.jpg", "dog/test/{}.jpg"], "has a folder t"),
    (["Cat.1{}.jpg", "cat.2{}.jpg", "dog.{}.jpg"], "Cat and cat differ in case alone"),
    (["caf\u00e9/{}.jpg", "cafe\u0301/{}.jpg"], "accents that look alike"),
    (["cat/{}.jpg", "cat /{}.jpg"], "differ in case alone, or in blanks"),
    (["cat/{}.jpg", "dog/{}.jpg", "val/cat/{}.jpg"], "val would be a class"),
    (["cat/{}.jpg", "dog/{}.jpg", "Validation/{}.jpg"], "Validation would be a class"),
    (["cat/{}.jpg", "dog/{}.jpg", "test_images/{}.jpg"], "test_images would be a class"),
    (["cat/{}.jpg", "dog/{}.jpg", "my unlabeled ones/{}.jpg"], "my unlabeled ones would be a class"),
    (["cat/{}.jpg", "dog/{}.jpg", "others/Dog/{}.jpg"], "others would be a class, but holds Dog, which is another"),
    (["trainset/cat/{}.jpg", "testset/cat/{}.jpg"], "testset would be a class"),
    (["cat/train/{}.jpg", "cat/test/{}.jpg", "dog/{}.jpg"], "cat has a folder t"),
    (["cat/{}.jpg", "dog/Test/{}.jpg"], "dog has a folder Test of its own"),
    (["cat.{}.jpg", "dog.{}.jpg", "extra/{}.jpg"], "Folders are classes; 8 files, as cat.0.jpg, lie beside them"),
    (["cat/{}.jpg", "dog/{}.jpg", "test/{}.jpg"], "none of the 4 test pictures has a label")])
def test_classes_that_cannot_be_meant_are_refused(folder, paths, expected):
    fill(folder, *(file for path in paths for file in numbers(path)))
    assert expected in refused(folder)


def test_folders_that_may_be_the_classes_are_told(folder):
    fill(folder, *(file for first in ("monday", "tuesday") for kind in ("cat", "dog")
                   for file in numbers(f"{first}/{kind}/{{}}.jpg")))
    _, problems, plan = arranged(folder)
    assert plan.class_names == ("monday", "tuesday")
    assert problems == {"monday, tuesday": "taken for classes, but each holds cat, dog: are these the classes?"}


@pytest.mark.parametrize("classes", [("constraint", "latest"), ("freight train", "truck"), ("valid", "invalid"),
                                     ("test tube", "flask")])
def test_words_of_parts_within_classes(folder, classes):
    fill(folder, *(file for name in classes for file in numbers(f"{name}/{{}}.jpg")))
    assert arranged(folder)[2].class_names == tuple(sorted(classes))


def test_a_line_that_fits_two_pictures_is_refused(folder, tmp_path):
    fill(folder, *numbers("train/{}.jpg"), *numbers("test/{}.jpg"))
    table = tmp_path / "labels.csv"
    table.write_text("file,label\n0.jpg,cat\n1.jpg,dog\n2.jpg,cat\n3.jpg,dog\n")
    assert "can be train/0.jpg or test/0.jpg" in refused(folder, str(table))


def test_minus_one_in_a_table_is_no_class(folder, tmp_path):
    fill(folder, *numbers("{}.jpg", 6))
    table = tmp_path / "labels.csv"
    table.write_text("file,label\n0.jpg,cat\n1.jpg,cat\n2.jpg,dog\n3.jpg,dog\n4.jpg,-1.0\n5.jpg,-1\n")
    found, _, plan = arranged(folder, str(table))
    assert plan.class_names == ("cat", "dog")
    assert found["4.jpg"] == (None, False)
    for none in ("NaN", "<NA>", "-", "Unlabelled"):
        table.write_text(f"file,label\n0.jpg,cat\n1.jpg,dog\n2.jpg,{none}\n")
        assert f"line 4: label {none}; leave the field empty" in refused(folder, str(table))
    table.write_text("file,label\n/home/me/0.jpg,cat\n/home/me/1.jpg,dog\n")
    assert "no line names a picture; pictures are called like 0.jpg, lines like /home/me/0.jpg" in \
        refused(folder, str(table))


@pytest.mark.parametrize("train", ["labelled", "train", "Labeled"])
@pytest.mark.parametrize(("inner", "test"), [("cat/{}.jpg", "cat.{}.jpg"), ("cat.{}.jpg", "cat/{}.jpg")])
def test_parts_in_folders_of_their_own(folder, train, inner, test):
    inner_dog, test_dog = inner.replace("cat", "dog"), test.replace("cat", "dog")
    fill(folder, *numbers(f"{train}/{inner}"), *numbers(f"{train}/{inner_dog}"), *numbers("unlabelled/a/{}.jpg"),
         *numbers("unlabelled/{}.jpg"), *numbers(f"test/{test}", 2), f"test/{test_dog.format(0)}", "readme.txt")
    found, problems, plan = arranged(folder)
    assert collections.Counter(found.values()) == {("cat", False): 4, ("dog", False): 4, (None, False): 8,
                                                   ("cat", True): 2, ("dog", True): 1}
    assert problems == {"readme.txt": "beside the folders labelled, unlabelled and test"}
    assert not plan.held_out


def test_unlabelled_and_test_beside_class_folders(folder):
    fill(folder, *numbers("cat/{}.jpg"), *numbers("dog/{}.jpg"), *numbers("UNLABELLED/{}.jpg"), "test/dog/9.jpg",
         "test/cow/1.jpg", "stray.jpg", ".hidden.jpg", "cat/.DS_Store", ".git/dog/1.jpg")
    found, problems, plan = arranged(folder)
    assert collections.Counter(found.values()) == {("cat", False): 4, ("dog", False): 4, (None, False): 4,
                                                   ("dog", True): 1}
    assert problems == {"test/cow/1.jpg": "of class 'cow', which has no training picture",
                        "stray.jpg": "beside the folders of the classes"}
    assert plan.class_names == ("cat", "dog")


def test_a_name_without_a_class_is_told(folder):
    fill(folder, *numbers("cat.{}.jpg"), *numbers("dog.{}.jpg"), "7.jpg", "mouse.jpg")
    found, problems, _ = arranged(folder)
    assert len(found) == 8
    assert problems == dict.fromkeys(("7.jpg", "mouse.jpg"), "a name without a class (as in cat.0.jpg)")


def test_a_table_labels_pictures(folder, tmp_path):
    fill(folder, *numbers("{}.jpg", 5), "more/x.jpg")
    text = "\ufefffile,who,label\n0.jpg,me,cat\n./1.jpg,me,cat\n2.jpg,,dog\nmore/x.jpg,,dog\n3.jpg,,\nnone.jpg,,cat\n"
    for place, name in ((folder, "labels.csv"), (tmp_path, str(tmp_path / "labels.csv"))):
        (place / "labels.csv").write_text(text)
        found, problems, _ = arranged(folder, name)
        assert {file: label for file, (label, _) in found.items()} == {
            "0.jpg": "cat", "1.jpg": "cat", "2.jpg": "dog", "more/x.jpg": "dog", "3.jpg": None, "4.jpg": None}
        assert problems == {"none.jpg": "in labels.csv, but not among the pictures"}
        (place / "labels.csv").unlink()


def test_a_table_labels_parts_too(folder):
    fill(folder, *numbers("labelled/{}.jpg", 4), "unlabelled/u.jpg", *numbers("test/{}.jpg", 3))
    (folder / "labels.csv").write_text("file,label\nlabelled/0.jpg,cat\nlabelled/1.jpg,dog\nlabelled/2.jpg,dog\n"
                                       "3.jpg,cat\ntest/0.jpg,dog\ntest/1.jpg,cow\n")
    found, problems, _ = arranged(folder, "labels.csv")
    assert found == {"labelled/0.jpg": ("cat", False), "labelled/1.jpg": ("dog", False),
                     "labelled/2.jpg": ("dog", False), "labelled/3.jpg": ("cat", False),
                     "unlabelled/u.jpg": (None, False), "test/0.jpg": ("dog", True)}
    assert problems == {"test/1.jpg": "of class 'cow', which has no training picture", "test/2.jpg": "no label"}


@pytest.mark.parametrize(("content", "found"), [
    (b"name,label\na.jpg,cat\n", "columns file and label"), (b"", "columns file and label"),
    (b"file,label\n0.jpg,cat\n0.jpg,dog\n", "line 3: 0.jpg has another label"),
    (b"file,label\n0.jpg,cat, black\n", "line 2: more fields"),
    (b"file,label\n\xff\xfe.jpg,cat\n", "no CSV table in UTF-8"), (b"file,label\n" + b"a" * 200_000, "no CSV table")])
def test_a_table_that_cannot_be_read(folder, content, found):
    fill(folder, *numbers("{}.jpg"))
    (folder / "labels.csv").write_bytes(content)
    message = refused(folder, "labels.csv")
    assert found in message
    assert "--labels" in message


def test_folders_that_hold_no_data_set(folder, tmp_path):
    assert "not a folder" in refused(folder)
    folder.mkdir()
    assert "no class was found" in refused(folder)
    fill(folder, *numbers("IMG_{}.jpg"))
    assert "one class (IMG)" in refused(folder)
    assert "--labels none.csv: no such file" in refused(folder, "none.csv")
    fill(tmp_path / "two", "cat/0.jpg", *numbers("dog/{}.jpg"))
    assert "class cat has one picture" in refused(tmp_path / "two")
    fill(tmp_path / "odd", *numbers("cat/{}.jpg"), *numbers("\x1b[31mdog/{}.jpg"))
    assert r"class name \x1b[31mdog cannot be printed" in refused(tmp_path / "odd")
    (tmp_path / "bytes").mkdir()
    os.makedirs(os.fsencode(tmp_path / "bytes") + b"/c\xff")
    fill(tmp_path / "bytes", *numbers("cat/{}.jpg"))
    open(os.fsencode(tmp_path / "bytes") + b"/c\xff/1.jpg", "w").close()
    assert r"c\udcff cannot be printed" in refused(tmp_path / "bytes")


def test_links_stay_in_the_folder(folder, tmp_path):
    fill(folder, *numbers("cat/{}.jpg"), *numbers("dog/{}.jpg"))
    fill(tmp_path / "outside", "secret.jpg")
    for name, target in (("dog/out.jpg", tmp_path / "outside" / "secret.jpg"), ("dog/up", tmp_path / "outside"),
                         ("cat/in.jpg", folder / "cat" / "0.jpg"), ("cat/again", folder / "dog"),
                         ("cat/broken.jpg", folder / "none.jpg"), ("cat/loop", folder)):
        (folder / name).symlink_to(target)
    os.mkfifo(folder / "cat" / "pipe.jpg")
    found, problems, _ = arranged(folder)
    assert set(found) == {*numbers("cat/{}.jpg"), *numbers("dog/{}.jpg"), "cat/in.jpg"}
    assert problems == {"dog/out.jpg": "a link that leaves the folder", "dog/up": "a link that leaves the folder",
                        "cat/again": "a link to a folder", "cat/loop": "a link to a folder",
                        "cat/broken.jpg": "not a regular file", "cat/pipe.jpg": "not a regular file"}


def test_the_folder_itself_may_be_a_link(folder, tmp_path):
    fill(folder, *numbers("cat/{}.jpg"), *numbers("dog/{}.jpg"))
    (tmp_path / "link").symlink_to(folder)
    assert len(arranged(tmp_path / "link")[0]) == 8


def test_a_folder_that_cannot_be_read_is_told(folder, closed):
    fill(folder, *numbers("cat/{}.jpg"), *numbers("dog/{}.jpg"), "dog/closed/1.jpg")
    closed("closed")
    found, problems, _ = arranged(folder)
    assert len(found) == 8
    assert problems == {"dog/closed": "Permission denied"}
