"""What the cards of the families say is true: sizes, counts, rows of the paper, licences, and how to get the files."""

import re
import subprocess
import sys
from importlib.metadata import entry_points

import pytest
import torch

from baselines.families import dino, dinov2, fourds, mae, videomae, videomaev2, vjepa
from baselines.vit.model import ViT
from rvm_bench.api.card import Model
from rvm_bench.api.registry import find_model, list_models
from rvm_bench.errors import UserError
from rvm_bench.fetch.weights import cached_file
from rvm_bench.tables.published import published_row

FAMILIES = {module.FAMILY.name: module.FAMILY for module in (dinov2, dino, mae, videomae, videomaev2, vjepa, fourds)}
MEMBERS = {name: family for family in FAMILIES.values() for name in family.sizes}
OURS = [*MEMBERS, *FAMILIES, "random-vit-s"]


def card_of(name):
    return find_model(name).card


def count_m(name):
    with torch.device("meta"):
        return sum(parameter.numel() for parameter in ViT(MEMBERS[name].config(name)).parameters()) / 1e6


def test_every_registered_model_resolves_to_a_card_of_its_name():
    names = {entry.name for entry in entry_points(group="rvm_bench.models")}
    assert set(OURS) <= names
    assert sorted(names) == list_models()
    assert all(find_model(name).card.name == name for name in names)
    for name in OURS:
        model = find_model(name)
        assert isinstance(model, Model)
        assert model.any_file == (name in FAMILIES)


@pytest.mark.parametrize("name", MEMBERS)
def test_a_card_agrees_with_its_sizes(name):
    card, config = card_of(name), MEMBERS[name].config(name)
    assert (card.width, card.patch, card.family) == (config.width, config.patch, MEMBERS[name].name)
    assert card.frames == (1 if config.tubelet == 1 else 16)
    assert card.causal == (card.frames == 1)
    assert set(card.taps) == {"propagation", "readout"}
    assert card.licence
    assert card.source


@pytest.mark.parametrize("name", MEMBERS)
def test_the_millions_of_a_card_are_counted_or_its_note_says_why_not(name):
    card = card_of(name)
    if card.params_m != pytest.approx(count_m(name), rel=0.08):
        assert f"{card.params_m:g} M" in card.note


@pytest.mark.parametrize("name", [name for name in MEMBERS if card_of(name).published])
def test_a_published_row_is_one_of_the_paper_and_of_the_same_size(name):
    card = card_of(name)
    row = published_row(card.published)
    assert row["table"] in ("Table 1", "Table 2")
    assert float(row["params_m"]) == card.params_m


def test_every_row_of_the_papers_tables_is_some_models():
    rows = {"4DS-S", "4DS-B", "4DS-B (dist from e)", "4DS-L", "4DS-H", "SiamMAE-S", "SiamMAE-B"}
    rows |= {"VideoMAE-B", "VideoMAE-L", "VideoMAE-H", "VideoMAEv2-g", "V-JEPA-L", "V-JEPA-H"}
    rows |= {"DINOv2-L (distilled)", "DINOv2-g"}
    assert {card_of(name).published for name in MEMBERS} - {""} == rows
    assert all(published_row(row) for row in rows)


@pytest.mark.parametrize("name", [name for name in MEMBERS if card_of(name).weights])
def test_a_released_file_has_one_way_to_get_it_and_a_plausible_size(name):
    released = card_of(name).weights
    assert released.url.startswith("https://") or released.by_hand
    assert released.licence == card_of(name).licence
    smallest = 4e6 * count_m(name) * 0.995
    assert released.size_bytes == 0 or released.size_bytes >= smallest


def test_no_two_models_keep_their_files_under_one_name():
    files = [card_of(name).weights.filename for name in MEMBERS if card_of(name).weights]
    assert len(set(files)) == len(files)


@pytest.mark.parametrize("name", ["random-vit-s", *FAMILIES])
def test_floors_and_bare_families_have_no_file_and_no_row(name):
    assert card_of(name).weights is None
    assert card_of(name).published == ""
    assert card_of(name).note


def test_the_random_floor_is_counted():
    assert card_of("random-vit-s").params_m == round(count_m("siammae-s"), 1)


@pytest.mark.parametrize(
    ("name", "facts"),
    [
        ("videomae-b", ["CC-BY-NC-4.0 - no commercial use", "Google Drive", "Table 2, row 'VideoMAE-B'", "davis 50.6"]),
        (
            "videomae-h",
            ["CC-BY-NC-4.0 - no commercial use", "drive.google.com/uc?id=1AJQR1Rsi2N1pDn9tLyJ8DQrUREiBA1bO"],
        ),
        ("vjepa-l", ["CC-BY-NC-4.0 - no commercial use", "jepa/vitl16/vitl16.pth.tar", "row 'V-JEPA-L'", "5.13 GB"]),
        ("videomaev2-g", ["CC-BY-NC-4.0 - no commercial use", "Table 1, row 'VideoMAEv2-g'", "not known whether"]),
        ("dinov2-l", ["Apache-2.0", "dinov2_vitl14_pretrain.pth", "row 'DINOv2-L (distilled)'", "303 M"]),
        ("cropmae-s", ["MIT", "Google Drive", "1oMXiX_uyGzyQB7S-MYkdJvKFmIuPXkYb", "Kinetics-400"]),
        ("siammae-s", ["none released", "row 'SiamMAE-S'", "not released by its authors"]),
        ("4ds-b-dist", ["CC-BY-4.0 (code Apache-2.0)", "scaling4d_dist_b.npz", "91 M", "87.4 M"]),
        ("4ds-h", ["none released", "row '4DS-H'", "cannot be run again"]),
        ("4ds-e", ["scaling4d_e.npz", "15.24 GB", "readout: stream int(0.95"]),
    ],
)
def test_weights_info_tells_licence_source_and_the_papers_row(cli, name, facts):
    code, out, _ = cli("weights", "info", name)
    assert code == 0
    assert [fact for fact in facts if fact not in out] == []
    assert ("no commercial use" in out) == ("NC" in card_of(name).licence)


@pytest.mark.parametrize("name", MEMBERS)
def test_weights_info_works_for_every_member(cli, name):
    code, out, err = cli("weights", "info", name)
    assert (code, err) == (0, "")
    facts = dict(re.split("  +", line, maxsplit=1) for line in out.splitlines())
    assert facts["model"] == name
    assert ("paper" in facts) == bool(card_of(name).published)


@pytest.mark.parametrize("name", ["videomae-h", "cropmae-s"])
def test_a_file_that_only_a_person_can_get_says_how(cli, name):
    released = card_of(name).weights
    code, _, err = cli("weights", "fetch", name)
    assert code == 2
    assert err.count("\n") == 1
    for part in ("drive.google.com", "in a browser", "put it at", released.filename):
        assert part in err
    with pytest.raises(UserError, match=r"drive\.google\.com.* put it at .*or give --weights PATH") as error:
        cached_file(card_of(name))
    assert "weights fetch" not in str(error.value)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("name", ["siammae-b", "4ds-h", "vjepa", "random-vit-s"])
def test_fetching_what_nobody_released_is_one_line(cli, name):
    code, _, err = cli("weights", "fetch", name)
    assert code == 2
    assert "no released checkpoint to fetch" in err
    assert err.count("\n") == 1


def test_listing_all_models_imports_no_torch():
    code = (
        "import sys; from rvm_bench.cli import main; sys.argv = ['rvm-bench', 'ls', 'models']\n"
        "try: main()\n"
        "except SystemExit as stop: assert not stop.code, stop.code\n"
        "heavy = {'torch', 'numpy', 'cv2', 'scipy', 'transformers', 'safetensors'} & set(sys.modules)\n"
        "assert not heavy - {'numpy'}, heavy"
    )
    listed = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True).stdout
    assert [name for name in OURS if name not in listed] == []
