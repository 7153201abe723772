"""Constants of a protocol are replaced by text of the right type, or refused in one line; the result says which."""

import dataclasses
import json
from typing import Literal

import pytest

from rvm_bench.api.overrides import check_choices, off_protocol, override
from rvm_bench.api.task import Protocol, constant
from rvm_bench.errors import UserError


@dataclasses.dataclass(frozen=True, kw_only=True)
class Sample(Protocol):
    id: str = "sample/1"
    topk: int = constant(7, "made up")
    radius: float = constant(20, "made up")
    temperature: float = constant(0.7, "made up")
    normalize: bool = constant(True, "made up")
    resize: Literal["lanczos", "bilinear"] = constant("lanczos", "made up")
    note: str = constant("", "made up")
    limit: int | None = constant(None, "made up")
    alphas: tuple[float, ...] = constant((0.1, 0.2), "made up")
    table: dict = dataclasses.field(default_factory=dict, metadata={"source": "made up"})

    def __post_init__(self):
        check_choices(self)
        if self.topk < 1:
            raise UserError(f"topk is {self.topk}; it must be at least 1")


@pytest.mark.parametrize(
    ("text", "name", "value"),
    [
        ("topk=5", "topk", 5),
        ("radius=12", "radius", 12),
        ("radius=12.5", "radius", 12.5),
        ("temperature=1e-1", "temperature", 0.1),
        ("normalize=false", "normalize", False),
        ("normalize = True", "normalize", True),
        ("resize=bilinear", "resize", "bilinear"),
        ("note=a=b", "note", "a=b"),
        ("limit=3", "limit", 3),
        ("limit=none", "limit", None),
        ("alphas=0.3,0.4,1", "alphas", (0.3, 0.4, 1)),
    ],
)
def test_a_text_becomes_a_value_of_the_fields_type(text, name, value):
    protocol = override(Sample(), [text])
    assert getattr(protocol, name) == value
    assert type(getattr(protocol, name)) is type(value)
    assert protocol == dataclasses.replace(Sample(), **{name: value})


def test_several_constants_are_set_at_once_and_the_original_stays():
    official = Sample()
    changed = override(official, ["topk=5", "resize=bilinear"])
    assert (changed.topk, changed.resize, changed.radius) == (5, "bilinear", 20)
    assert official == Sample()
    assert override(official, []) == official


@pytest.mark.parametrize("text", ["radius=20.0", "radius=20", "temperature=0.70", "topk=7", "limit=none"])
def test_the_present_value_changes_nothing_in_the_json_either(text):
    assert json.dumps(override(Sample(), [text]).to_dict()) == json.dumps(Sample().to_dict())


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("topk=many", "topk=many: expected a whole number"),
        ("topk=2.5", "topk=2.5: expected a whole number"),
        ("radius=far", "radius=far: expected a number"),
        ("radius=nan", "radius=nan: expected a number"),
        ("radius=inf", "radius=inf: expected a number"),
        ("radius=", "radius=: expected a number"),
        ("normalize=1", "normalize=1: expected true or false"),
        ("resize=bilinaer", "resize=bilinaer: expected lanczos or bilinear; did you mean bilinear?"),
        ("alphas=0.1,x", "alphas=x: expected a number"),
        ("table={}", "table cannot be set on the command line"),
        ("topk", "'topk' sets no constant of the protocol; expected name=value"),
        ("=5", "'=5' sets no constant"),
        ("id=mine/1", "id names the protocol and cannot be set"),
        ("topk=0", "topk is 0; it must be at least 1"),
    ],
)
def test_a_value_that_does_not_fit_is_refused_in_one_line_with_its_name(text, message):
    with pytest.raises(UserError) as error:
        override(Sample(), [text])
    assert str(error.value).startswith(message)
    assert "\n" not in str(error.value)


def test_an_unknown_constant_offers_the_nearest():
    with pytest.raises(UserError, match=r"unknown constant of sample/1 'top_k'; did you mean topk\?"):
        override(Sample(), ["top_k=5"])


def test_the_same_constant_twice_is_refused():
    with pytest.raises(UserError, match="topk is set twice"):
        override(Sample(), ["topk=5", "topk=6"])


def test_what_differs_from_the_official_protocol_is_told_as_json():
    assert off_protocol(Sample(), Sample()) == {}
    changed = off_protocol(override(Sample(), ["radius=12", "topk=5", "alphas=1,2"]), Sample())
    assert changed == {"topk": [7, 5], "radius": [20, 12], "alphas": [(0.1, 0.2), (1, 2)]}
    assert list(changed) == ["topk", "radius", "alphas"]
    json.dumps(changed)


def test_a_choice_made_in_python_is_checked_too():
    with pytest.raises(UserError, match="resize=nearest: expected lanczos or bilinear"):
        Sample(resize="nearest")
