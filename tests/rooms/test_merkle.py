"""The tree is RFC 6962's, by its published vectors and by its definition."""

import hashlib

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from gpu_nx47.journal.merkle import array_digest, leaf_hash, node_hash, slice_hashes, tree_root

LEAVES = ["", "00", "10", "2021", "3031", "40414243", "5051525354555657", "606162636465666768696a6b6c6d6e6f"]
ROOTS = [  # certificate-transparency's reference tests: the tree of the first n leaves
    "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855",
    "6e340b9cffb37a989ca544e6bb780a2c78901d3fb33738768511a30617afa01d",
    "fac54203e7cc696cf0dfcb42c92a1d9dbaf70ad9e621f4bd8d98662f00e3c125",
    "aeb6bcfe274b70a14fb067a5e5578264db0fa9b51af5e0ba159158f329e06e77",
    "d37ee418976dd95753c1c73862b9398fa2a2cf9b4ff0fdfe8b30cd95209614b7",
    "4e3bbb1f7b478dcfe71fb631631519a3bca12c9aefca1612bfce4c13a86264d4",
    "76e67dadbcdf1e10e1b74ddc608abd2f98dfb16fbce75277b5232a127f2087ef",
    "ddb89be403809e325750d3d263cd78929c2942b7942a34b77e122c9594a74c8c",
    "5dc9da79a70659a9ad559cb701ded9a2ab9d823aad2f4960cfe370eff4604328",
]


def root_by_definition(data):
    """RFC 6962, section 2.1, word for word."""
    n = len(data)
    if n == 0:
        return hashlib.sha256(b"").digest()
    if n == 1:
        return hashlib.sha256(b"\x00" + data[0]).digest()
    k = 1
    while k * 2 < n:
        k *= 2
    left, right = root_by_definition(data[:k]), root_by_definition(data[k:])
    return hashlib.sha256(b"\x01" + left + right).digest()


@pytest.mark.parametrize("size", range(9))
def test_the_tree_gives_the_published_roots(size):
    assert tree_root([leaf_hash(bytes.fromhex(leaf)) for leaf in LEAVES[:size]]).hex() == ROOTS[size]


@given(st.lists(st.binary(max_size=5), max_size=70))
def test_the_tree_is_the_definition(data):
    assert tree_root([leaf_hash(item) for item in data]) == root_by_definition(data)


def test_a_node_cannot_pass_for_a_leaf():
    a, b = leaf_hash(b"a"), leaf_hash(b"b")
    assert node_hash(a, b) != leaf_hash(a + b)


@pytest.mark.parametrize("dtype", ["bool", "u1", "<i2", ">i2", ">f4", "<f8"])
@pytest.mark.parametrize("order", ["C", "F", "strided"])
def test_an_array_digest_depends_on_values_not_on_layout(dtype, order):
    rng = np.random.default_rng(3)
    array = np.asarray(rng.integers(0, 2, (5, 4, 6)) * 3, dtype)
    little = array.astype(array.dtype.newbyteorder("<"))
    expected = root_by_definition([part.tobytes("C") for part in little])
    laid = {"C": array, "F": np.asfortranarray(array), "strided": np.repeat(array, 2, axis=2)[:, :, ::2]}[order]
    assert array_digest(laid) == expected.hex()
    assert slice_hashes(laid, 3) == slice_hashes(laid)


def test_one_voxel_changes_the_leaf_of_its_slice_alone():
    array = np.zeros((6, 3, 3), np.uint8)
    before = slice_hashes(array)
    array[4, 1, 1] = 1
    after = slice_hashes(array)
    assert [z for z in range(6) if before[z] != after[z]] == [4]


def test_a_digest_of_nothing_to_slice():
    assert array_digest(np.zeros((0, 4, 4), np.uint8)) == ROOTS[0]
    with pytest.raises(ValueError, match="slices"):
        array_digest(np.array(1))
