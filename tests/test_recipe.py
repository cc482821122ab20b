import copy
import dataclasses
from pathlib import Path
from typing import Any

import pytest
import yaml

from selfmae import plugins
from selfmae.errors import UserError
from selfmae.options import Recipe
from selfmae.recipe import (
    as_content,
    check_partial,
    differences,
    find_recipe,
    load_recipe,
    make_recipe,
    named_recipes,
    overlay,
    parse_sets,
    read_content,
    write_recipe,
)

CONTENT: dict[str, Any] = {
    "data": {"source": "scans", "channels": ["ct"], "crop": [32, 32, 16], "intensity": "zscore"},
    "target": {"kind": "mask", "names": ["liver", "spleen"], "values": [6, 1]},
    "model": {"patch": [8, 8, 4], "width": 48, "depth": 2, "heads": 3},
    "mae": {"decoder_width": 24, "decoder_depth": 1, "decoder_heads": 3},
    "pretrain": {"steps": 10, "batch": 4, "lr": 1e-3},
    "fit": {"steps": 10, "batch": 4, "lr": 1e-3},
}


def recipe_with(*settings: str) -> Recipe:
    return make_recipe(overlay(CONTENT, parse_sets(settings)), "my.yaml")


def error_of(*settings: str) -> str:
    with pytest.raises(UserError) as caught:
        recipe_with(*settings)
    return str(caught.value)


def test_a_recipe_has_the_types_of_its_options() -> None:
    recipe = recipe_with()
    assert recipe.data.crop == (32, 32, 16)
    assert recipe.model.mlp_ratio == 4.0
    assert recipe.fit.augment == {name: module.Options() for name, module in plugins.load_all("augment").items()}
    with pytest.raises(dataclasses.FrozenInstanceError):
        recipe.seed = 1  # type: ignore[misc]


def test_every_wrong_key_is_listed_at_once_with_the_nearest_known_one() -> None:
    text = error_of(
        "fit.stepz=5", "fit.augment.spatial.flips=1", "modell={}", "pretrain.lr=quick", "data.intensity=zcore"
    )
    assert text.startswith("my.yaml: ")
    for part in (
        "unknown key 'fit.stepz'. Did you mean 'fit.steps'?",
        "unknown key 'fit.augment.spatial.flips'. Did you mean 'fit.augment.spatial.flip'?",
        "unknown key 'modell'. Did you mean 'model'?",
        "key 'pretrain.lr' has the value 'quick': input should be a valid number",
        "key 'data.intensity' has the value 'zcore': input should be 'zscore', 'zscore_nonzero', 'percentile'",
    ):
        assert part in text


def test_a_key_near_to_none_lists_the_known_ones() -> None:
    known = "blend, distances, grid, largest_component, mirror, overlap."
    assert f"unknown key 'predict.xyz'. Known: {known}" in error_of("predict.xyz=1")


@pytest.mark.parametrize(
    ("setting", "expected"),
    [
        ("mae.ratioo=0.5", "unknown key 'mae.ratioo'. Did you mean 'mae.ratio'?"),
        ("mea.ratio=0.5", "unknown key 'mea'. Did you mean 'mae'?"),
        ("mae.ratio=half", "key 'mae.ratio' has the value 'half': input should be a valid number"),
        ("mae=5", "key 'mae' has the value 5"),
        ("fit.augment.spatal.zoom=0.1", "unknown key 'fit.augment.spatal'. Did you mean 'fit.augment.spatial'?"),
        ("fit.augment.intensity.gain=high", "key 'fit.augment.intensity.gain' has the value 'high'"),
        ("pretrain.augment.spatial=5", "key 'pretrain.augment.spatial' has the value 5"),
        ("pretrain.augment=5", "key 'pretrain.augment' has the value 5: a section for each was expected"),
        ("methods.mae.ratio=0.5", "unknown key 'methods'"),
    ],
)
def test_keys_of_methods_and_augmentations_are_checked_like_others(setting: str, expected: str) -> None:
    assert expected in error_of(setting)


def test_sections_of_methods_and_augmentations_are_all_there_and_lie_where_they_are_written() -> None:
    content = as_content(recipe_with("moco.queue=8", "fit.augment.spatial.zoom=0.1"))
    assert "methods" not in content
    assert set(plugins.names("methods")) < set(content)
    assert set(content["fit"]["augment"]) == set(content["pretrain"]["augment"]) == set(plugins.names("augment"))
    assert (content["mae"]["decoder_width"], content["moco"]["queue"]) == (24, 8)
    assert content["fit"]["augment"]["spatial"]["zoom"] == 0.1
    assert make_recipe(content, "again") == recipe_with("moco.queue=8", "fit.augment.spatial.zoom=0.1")


def test_a_recipe_of_an_older_version_says_so() -> None:
    expected = r"was written by an older version of SelfMAE, whose sections had other names \(mask\): make a new recipe"
    with pytest.raises(UserError, match=expected):
        recipe_with("mask.ratio=0.5")


def test_a_missing_key_is_named() -> None:
    content = copy.deepcopy(CONTENT)
    del content["fit"]["lr"], content["model"]
    with pytest.raises(UserError, match=r"key 'model' is missing; key 'fit\.lr' is missing"):
        make_recipe(content, "my.yaml")


@pytest.mark.parametrize(
    ("setting", "expected"),
    [
        ("fit.steps=2.5", "key 'fit.steps' has the value 2.5"),
        ("data.crop=[a, 2, 3]", "key 'data.crop.0' has the value 'a'"),
        ("data=5", "key 'data' has the value 5"),
        ("target.kind=masks", "input should be 'mask', 'multilabel' or 'multiclass'"),
        ("data.pretrain_on=[test]", "input should be 'train' or 'unlabelled'"),
    ],
)
def test_values_of_the_wrong_type_are_named(setting: str, expected: str) -> None:
    assert expected in error_of(setting)


def test_settings_are_yaml_and_reach_into_sections() -> None:
    settings = [
        "fit.steps=7",
        "fit.augment.spatial.flip_axes=[0, 1]",
        "data.source=a=b",
        "seed=3",
        "data.equalise=true",
    ]
    recipe = recipe_with(*settings)
    assert (recipe.fit.steps, recipe.fit.batch, recipe.seed) == (7, 4, 3)
    assert recipe.fit.augment["spatial"].flip_axes == (0, 1)
    assert recipe.data.source == "a=b"
    assert recipe.data.equalise is True
    assert recipe_with("fit.lr=1e-4").fit.lr == 1e-4  # YAML 1.1 takes this for text


def test_a_later_setting_wins() -> None:
    assert parse_sets(["a.b=1", "a.c=2", "a.b=3"]) == {"a": {"b": 3, "c": 2}}


@pytest.mark.parametrize("setting", ["fit.steps", "=5"])
def test_a_setting_without_key_or_value_is_a_sentence(setting: str) -> None:
    with pytest.raises(UserError, match=rf"--set '{setting}' must look like key=value, for example fit\.steps=500"):
        parse_sets([setting])


def test_a_setting_that_is_no_yaml_is_a_sentence() -> None:
    with pytest.raises(UserError, match=r"--set 'data.crop=\[1, 2': the value is not valid YAML; quote it"):
        parse_sets(["data.crop=[1, 2"])


def test_overlay_joins_sections_and_replaces_values_and_regions() -> None:
    below = {"a": {"b": 1, "c": [1, 2]}, "target": {"regions": {"whole": [1, 2]}, "kind": "mask"}}
    above = {"a": {"c": [3]}, "target": {"regions": {"core": [1]}}, "d": 4}
    before = copy.deepcopy(below)
    assert overlay(below, above) == {
        "a": {"b": 1, "c": [3]},
        "target": {"regions": {"core": [1]}, "kind": "mask"},
        "d": 4,
    }
    assert below == before


def test_a_written_recipe_is_read_back_equal(tmp_path: Path) -> None:
    odd = {"data": {"source": "C:\\scans: #1 'x'...", "splits": "yes", "window": [-175, 2.5e-7], "layout": "1"}}
    regions = {"target": {"regions": {"whole: tumour": [1, 6], "1": [1], "yes": [6]}}}
    recipe = make_recipe(overlay(overlay(CONTENT, odd), regions), "my.yaml")
    write_recipe(tmp_path / "recipe.yaml", recipe, {"model.patch": "because: of\nthis # reason"})
    assert make_recipe(read_content(tmp_path / "recipe.yaml"), "x") == recipe
    assert [path.name for path in tmp_path.iterdir()] == ["recipe.yaml"]


def test_every_value_is_written_with_its_reason_behind_it(tmp_path: Path) -> None:
    write_recipe(tmp_path / "recipe.yaml", recipe_with(), {"model.patch": "a sixth", "seed": "as given"})
    lines = (tmp_path / "recipe.yaml").read_text().splitlines()
    assert "  patch: [8, 8, 4]  # a sixth" in lines
    assert "seed: 0  # as given" in lines
    assert yaml.safe_load("\n".join(lines)) == as_content(recipe_with())


def test_differences_name_each_key_with_both_values() -> None:
    one, other = (
        recipe_with(),
        recipe_with("fit.steps=20", "fit.augment.spatial.flip=0.1", "target.regions={both: [1, 6]}"),
    )
    assert differences(other, one) == [
        "fit.augment.spatial.flip (0.1, was 0.5)",
        "fit.steps (20, was 10)",
        "target.regions.both ([1, 6], was None)",
    ]
    assert differences(one, recipe_with()) == []


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("a: [1", "is not valid YAML"),
        ("- 1\n- 2", "must hold keys and values, but holds list"),
        ("", "must hold keys and values, but holds NoneType"),
        ("a: !!python/object/apply:os.getcwd []", "is not valid YAML"),
        ("a: 1\na: 2", "the key 'a' stands twice in one section"),
    ],
)
def test_a_file_that_is_no_recipe_is_a_sentence(tmp_path: Path, text: str, expected: str) -> None:
    (tmp_path / "r.yaml").write_text(text)
    with pytest.raises(UserError, match=r"The recipe .*r\.yaml") as caught:
        read_content(tmp_path / "r.yaml")
    assert expected in str(caught.value)


def test_a_file_that_is_not_there_or_is_not_text_is_a_sentence(tmp_path: Path) -> None:
    (tmp_path / "r.yaml").write_bytes(b"\xff\xfe\x00")
    for path in (tmp_path / "none.yaml", tmp_path / "r.yaml", tmp_path):
        with pytest.raises(UserError, match=r"could not be read .*: give the path of a YAML file"):
            read_content(path)


def test_a_recipe_is_found_by_path_and_by_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "mine.yaml").write_text("a: 1")
    assert find_recipe(str(tmp_path / "mine.yaml")) == tmp_path / "mine.yaml"
    monkeypatch.setattr(
        "selfmae.recipe.named_recipes", lambda: {"btcv:fixed": Path("b.yaml"), "demo": Path("demo.yaml")}
    )
    assert find_recipe("btcv") == find_recipe("btcv:fixed") == Path("b.yaml")
    with pytest.raises(UserError, match=r"The recipe 'btvc' is neither a file nor a known name\. Did you mean 'btcv'"):
        find_recipe("btvc")


def test_named_recipes_are_the_files_of_the_package() -> None:
    assert all(path.suffix == ".yaml" and path.stem == name.replace(":", "-") for name, path in named_recipes().items())


def test_a_recipe_is_loaded_with_settings_over_it(tmp_path: Path) -> None:
    (tmp_path / "r.yaml").write_text(yaml.safe_dump(CONTENT))
    assert load_recipe(str(tmp_path / "r.yaml"), ["fit.steps=7"]) == recipe_with("fit.steps=7")


def test_settings_are_checked_before_a_plan_is_made() -> None:
    assert check_partial({"fit": {"steps": 7}}, "--set").fit.steps == 7
    with pytest.raises(UserError, match=r"--set: unknown key 'fit\.stepz'\. Did you mean 'fit\.steps'"):
        check_partial({"fit": {"stepz": 7}}, "--set")


def test_a_folder_in_place_of_a_recipe_says_how_to_write_one(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"is a folder, but must be a file or a known name: `selfmae plan SOURCE --out"):
        find_recipe(str(tmp_path))


def test_a_question_ends_the_sentence() -> None:
    assert error_of("fit.stepz=1").endswith("Did you mean 'fit.steps'?")
