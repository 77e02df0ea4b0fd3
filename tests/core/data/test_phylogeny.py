import gc
import gzip
from collections import Counter

import numpy as np
import pytest
from skbio import TreeNode

from aam_core.data.phylogeny import Phylogeny
from aam_core.errors import InputError
from tests.generate import parse

# A polytomy, a node with one child, a zero-length branch, names with underscores.
NEWICK = "((a_1:1,b_2:2,c:0):0.5,((d:3,e:4):1.5)one:0.25,(f:1,(g:1,h:2):1):1);"


def branches(phylogeny: Phylogeny) -> Counter:
    """Return each branch as its length and the set of the tips below."""
    return Counter(
        (length, frozenset(phylogeny.tip_names[low:high]))
        for low, high, length in zip(
            phylogeny.low, phylogeny.high, phylogeny.lengths, strict=True
        )
    )


def branches_of_skbio(tree: TreeNode, among: set[str]) -> Counter:
    """Return the same from scikit-bio's nodes, restricted to some tips."""
    found = Counter()
    for node in tree.traverse(include_self=False):
        tips = {tip.name for tip in node.tips(include_self=True)} & among
        if tips:
            found[(node.length, frozenset(tips))] += 1
    return found


def check_parents(phylogeny: Phylogeny) -> None:
    for e, parent in enumerate(phylogeny.parent):
        assert parent < e
        if parent >= 0:
            assert phylogeny.low[parent] <= phylogeny.low[e]
            assert phylogeny.high[e] <= phylogeny.high[parent]


def test_branches_cover_the_tips_below_them():
    tree = parse(NEWICK)
    phylogeny = Phylogeny.from_skbio(tree)
    names = [tip.name for tip in tree.tips()]
    assert list(phylogeny.tip_names) == names
    assert branches(phylogeny) == branches_of_skbio(tree, set(names))
    check_parents(phylogeny)


def test_parents_by_hand():
    phylogeny = Phylogeny.from_skbio(parse("((a:1,b:2):0.5,c:3);"))
    np.testing.assert_array_equal(phylogeny.lengths, [0.5, 1, 2, 3])
    np.testing.assert_array_equal(phylogeny.low, [0, 0, 1, 2])
    np.testing.assert_array_equal(phylogeny.high, [2, 1, 2, 3])
    np.testing.assert_array_equal(phylogeny.parent, [-1, 0, 0, -1])


def test_length_above_the_root_is_a_branch():
    phylogeny = Phylogeny.from_skbio(parse("(a:1,b:2):4;"))
    np.testing.assert_array_equal(phylogeny.lengths, [4, 1, 2])
    np.testing.assert_array_equal(phylogeny.low, [0, 0, 1])
    np.testing.assert_array_equal(phylogeny.high, [2, 1, 2])
    np.testing.assert_array_equal(phylogeny.parent, [-1, 0, 0])


@pytest.mark.parametrize(
    "names", [["h", "a_1", "e"], ["d"], ["c", "b_2", "a_1"], list("defgh")]
)
def test_shear(names):
    tree = parse(NEWICK)
    sheared = Phylogeny.from_skbio(tree).shear(names)
    assert [t.name for t in tree.tips() if t.name in names] == list(sheared.tip_names)
    assert branches(sheared) == branches_of_skbio(tree, set(names))
    check_parents(sheared)
    again = sheared.shear(names)
    np.testing.assert_array_equal(again.parent, sheared.parent)


def test_shear_names_missing_tips():
    names = ["a_1", "one", *(f"x{i}" for i in range(6))]  # "one" is no tip
    with pytest.raises(InputError, match="7 of 8 features") as error:
        Phylogeny.from_skbio(parse(NEWICK)).shear(names)
    assert "'one', 'x0', 'x1', 'x2', 'x3' and 2 more" in str(error.value)


@pytest.mark.parametrize("compress", [False, True])
def test_read(tmp_path, compress):
    path = tmp_path / "tree.nwk"
    data = NEWICK.encode()
    path.write_bytes(gzip.compress(data) if compress else data)
    read, expected = Phylogeny.read(path), Phylogeny.from_skbio(parse(NEWICK))
    assert list(read.tip_names) == list(expected.tip_names)
    np.testing.assert_array_equal(read.lengths, expected.lengths)


@pytest.mark.parametrize(
    "content", [b"(a:1,b:2)", b"((a:1,b:2);", b"(a:x,b:1);", b">a\nAC\n", b"\xff"]
)
def test_unreadable_file_is_named(tmp_path, content):
    path = tmp_path / "broken.nwk"
    path.write_bytes(content)
    with pytest.raises(InputError, match=r"broken\.nwk could not be read"):
        Phylogeny.read(path)


def test_only_a_single_tree_is_read(tmp_path):
    path = tmp_path / "tree.nwk"
    path.write_text("(('a;1':1,b:1)[x;y]:1,c:2);\n")
    assert list(Phylogeny.read(path).tip_names) == ["a;1", "b", "c"]
    for text in ("((a:1,b:1):1,c:2);(a:1,b:1);", "(a:1,b:1);\n(a:1,b:1);\n"):
        path.write_text(text)
        with pytest.raises(InputError, match=r"tree\.nwk holds more than one tree"):
            Phylogeny.read(path)


@pytest.mark.parametrize(
    ("newick", "unrooted"),
    [
        ("((a:1,b:1):1,(c:1,d:1):1);", False),
        ("(a:1,b:1,(c:1,d:1):1);", True),
        ("((a:1,b:1,c:1):1,d:1);", False),
        ("(a:1,b:1,c:1);", False),  # a star is as rooted as it can be
        ("(a:1,b:1,(c:1,d:1):1):1;", False),  # something lies above this root
    ],
)
def test_trees_that_look_unrooted(newick, unrooted):
    assert Phylogeny.from_skbio(parse(newick)).looks_unrooted is unrooted


def test_missing_file_is_named(tmp_path):
    with pytest.raises(InputError, match=r"nowhere\.nwk"):
        Phylogeny.read(tmp_path / "nowhere.nwk")


@pytest.mark.parametrize(
    ("newick", "message"),
    [
        (";", "1 tip"),
        ("(a:1);", "1 tip"),
        ("((a:1,b:1):1,a:2);", "unique, but 'a' occur"),
        ("((a:1,:1):1,c:2);", "1 tips .* no name"),
        ("((a:1,b):1,c:2);", "without a length, 1 of 4, above the nodes 'b'"),
        ("((a:1,b:1),c:2);", r"without a length.*'\(node above a\)'"),
        ("((a,b),c);", "without a length, 4 of 4"),
        ("((a:1,b:nan):1,c:2);", "without a length.*'b'"),
        ("((a:1,b:-0.5):1,c:2);", "of negative length, 1 of 4.*'b'"),
        ("(a:1,b:2):-1;", "of negative length, 1 of 2"),
    ],
)
def test_unsuitable_trees(tmp_path, newick, message):
    with pytest.raises(InputError, match=message):
        Phylogeny.from_skbio(parse(newick))
    path = tmp_path / "tree.nwk"
    path.write_text(newick)
    with pytest.raises(InputError, match=r"tree\.nwk: .*" + message):
        Phylogeny.read(path)


def test_deep_tree_needs_no_recursion():
    n = 5000
    newick = "(" * (n - 1) + "t0:1" + "".join(f",t{i}:1):1" for i in range(1, n))
    phylogeny = Phylogeny.from_skbio(parse(newick + ";"))
    assert len(phylogeny.tip_names) == n
    assert len(phylogeny.lengths) == 2 * n - 1  # the root has a length too
    check_parents(phylogeny)


@pytest.mark.parametrize("content", [NEWICK, "((a:1,b"])
def test_read_leaves_garbage_collection_on(tmp_path, content):
    path = tmp_path / "tree.nwk"
    path.write_text(content)
    assert gc.isenabled()
    if content == NEWICK:
        Phylogeny.read(path)
    else:
        with pytest.raises(InputError, match="could not be read"):
            Phylogeny.read(path)
    assert gc.isenabled()


@pytest.mark.parametrize(
    "text", ["(a:1,b:2):1));", "(a:1,b:1)):1;", "a:1),b:1);", ")))"]
)
def test_a_bracket_that_was_not_opened_is_refused(tmp_path, text):
    (tmp_path / "tree.nwk").write_text(text)
    with pytest.raises(InputError, match=r"as a Newick tree: .*(bracket|Parenthes)"):
        Phylogeny.read(tmp_path / "tree.nwk")
