"""A model is drawn alike in every figure, and apart from the others in greyscale."""

import pytest

from rvm_bench.api.card import Model
from rvm_bench.api.registry import find_model, list_models
from rvm_bench.figures.looks import INK, family_of, look_of, looks_of
from rvm_bench.figures.scores import published


def registered():
    for name in list_models():
        if isinstance(model := find_model(name), Model):
            yield model.card


def test_a_model_and_its_row_in_the_paper_look_the_same():
    cards = [card for card in registered() if card.published]
    assert len(cards) > 10
    for card in cards:
        assert look_of(card.published) == look_of(card.name, card.family), card.name


def test_families_differ_in_their_marks_so_that_no_colour_is_needed():
    marks = {}
    for card in registered():
        marks.setdefault(look_of(card.name, card.family).mark, set()).add(family_of(card.name, card.family))
    assert all(len(families) == 1 for families in marks.values()), marks
    for row in published("davis"):
        assert family_of(row.name) in {"rvm", "dinov2", "videomae", "videomaev2", "vjepa", "4ds", "mae"}


@pytest.mark.parametrize(
    ("name", "family"),
    [
        ("VideoMAEv2-g", "videomaev2"),
        ("VideoMAE-H", "videomae"),
        ("DINOv2-L (distilled)", "dinov2"),
        ("dino-s", "dino"),
        ("V-JEPA-L", "vjepa"),
        ("4DS-B (dist from e)", "4ds"),
        ("SiamMAE-S", "mae"),
        ("random-vit-s", "random-vit"),
        ("rvm-tiny, random", "rvm"),
        ("resnet50", "resnet50"),
    ],
)
def test_names_of_papers_and_cards_are_known(name, family):
    assert family_of(name) == family


def test_a_floor_is_black_though_it_is_built_like_a_family():
    assert look_of("random-vit-s", "mae").colour == INK != look_of("siammae-s", "mae").colour


def test_a_plug_in_keeps_its_look_and_members_of_a_family_differ_in_dashes():
    assert look_of("mine", "mine") == look_of("mine", "mine")
    small, base, other = looks_of([("rvm-s", "rvm"), ("rvm-b", "rvm"), ("dinov2-s", "dinov2")])
    assert (small.colour, small.mark) == (base.colour, base.mark)
    assert small.dash == other.dash == "-" != base.dash
    pixels, random_vit = looks_of([("pixels", ""), ("random-vit-s", "")])
    assert pixels.dash != random_vit.dash
