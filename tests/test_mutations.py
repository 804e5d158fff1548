"""The damaged copies that fuzz tests try."""

from tests.mutations import mutations

DOCUMENT = {"one": 1, "group": {"list": [1, 2], "text": "a"}}


def test_the_same_seed_chooses_the_same_damaged_copies():
    first, again, other = (list(map(repr, mutations(DOCUMENT, 20, seed=seed))) for seed in (3, 3, 4))
    assert first == again != other and len(first) == 20


def test_each_copy_has_one_change_and_the_document_none():
    before = repr(DOCUMENT)
    copies = dict(mutations(DOCUMENT, 10_000))
    assert repr(DOCUMENT) == before
    assert copies["group: replaced by None"] == {"one": 1, "group": None}
    assert copies["group.text: misspelt"] == {"one": 1, "group": {"list": [1, 2], "txt": "a"}}
    assert copies["group.list.1: left out"] == {"one": 1, "group": {"list": [1], "text": "a"}}
    assert copies["document: replaced by []"] == []
