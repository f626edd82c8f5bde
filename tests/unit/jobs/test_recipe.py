from pathlib import Path
from typing import Annotated, Literal

import pytest
import yaml
from pydantic import BaseModel, ConfigDict, Field

from jobs.errors import RecipeError
from jobs.executors import executor_settings
from jobs.recipe import (
    apply_change,
    builtin_recipes,
    checked_settings,
    find_recipe,
    load_recipe,
    quoted_change,
    recipe_from_text,
    resolved_yaml,
)
from jobs.verbs import settings_of
from pipelines.build import BuildSettings


class Strict(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class PoseAug(Strict):
    max_bone_stretch: float = Field(0.2, ge=0)
    preset: Literal["released", "default"] = "default"


class Narrow(Strict):
    kind: Literal["narrow"] = "narrow"
    sigma_deg: float = 12.0


class Wide(Strict):
    kind: Literal["wide"] = "wide"
    tilt_deg: float = 29.0


class Settings(Strict):
    source: str
    rounds: int = Field(8, ge=1)
    shuffle: bool = True
    poseaug: PoseAug = PoseAug()
    parts: tuple[str, ...] = ()
    augmentors: tuple[Annotated[Narrow | Wide, Field(discriminator="kind")], ...] = ()
    by_name: dict[str, PoseAug] = {}


HEAD = "job: loop\nout: runs/x\nsource: data\n"


def check(text: str, *changes: str) -> Settings:
    settings = checked_settings(recipe_from_text(HEAD + text, "loop.yaml", changes), Settings)
    assert isinstance(settings, Settings)
    return settings


def message(text: str, *changes: str) -> str:
    with pytest.raises(RecipeError) as caught:
        check(text, *changes)
    return str(caught.value)


def test_an_unknown_key_names_the_nearest_one() -> None:
    wanted = "loop.yaml: unknown key 'max_bone_strech' under 'poseaug'; did you mean 'max_bone_stretch'?"
    assert message("poseaug: {max_bone_strech: 0.3}") == wanted


def test_an_unknown_key_at_the_top_may_mean_one_of_the_recipes_own() -> None:
    assert message("sede: 3") == "loop.yaml: unknown key 'sede'; did you mean 'seed'?"
    assert message("round: 3") == "loop.yaml: unknown key 'round'; did you mean 'rounds'?"


def test_an_unknown_key_that_is_near_nothing_lists_the_known_ones() -> None:
    assert "known are max_bone_stretch, preset" in message("poseaug: {zzz: 1}")


@pytest.mark.parametrize(
    ("text", "wanted"),
    [
        ("rounds: many", "'rounds' wants a whole number, got 'many'"),
        ("rounds: 0", "'rounds' wants 1 or more, got 0"),
        ("shuffle: 7", "'shuffle' wants true or false, got 7"),
        ("poseaug: 3", "'poseaug' wants keys and values, got 3"),
        ("poseaug: {preset: paper}", "'preset' under 'poseaug' wants 'released' or 'default', got 'paper'"),
        ("poseaug: {max_bone_stretch: -1}", "'max_bone_stretch' under 'poseaug' wants 0 or more, got -1"),
        ("parts: {a: 1}", "'parts' wants a list, got {'a': 1}"),
        ("augmentors: [{sigma_deg: 3}]", "needs a key 'kind'"),
        ("augmentors: [{kind: wyde}]", "has no kind 'wyde'; did you mean 'wide'?"),
        (
            "augmentors: [{kind: wide, tilt_dge: 3}]",
            "unknown key 'tilt_dge' under 'augmentors.0'; did you mean 'tilt_deg'?",
        ),
        ("by_name: {a: {prest: x}}", "unknown key 'prest' under 'by_name.a'; did you mean 'preset'?"),
    ],
)
def test_a_wrong_value_is_one_clear_sentence(text: str, wanted: str) -> None:
    found = message(text)
    assert found.startswith("loop.yaml: ")
    assert wanted in found
    assert "\n" not in found


def test_several_faults_name_one_and_count_the_others() -> None:
    assert message("rounds: many\nshuffle: 7").endswith("(1 more to mend after this one)")


def test_a_missing_key_is_named() -> None:
    with pytest.raises(RecipeError, match="the key 'source' is missing"):
        checked_settings(recipe_from_text("job: loop\nout: x", "loop.yaml"), Settings)


@pytest.mark.parametrize(
    ("text", "wanted"),
    [
        ("job: loop", "nothing says where to write"),
        ("out: x", "the key 'job' is missing"),
        ("job: loop\nout: x\nseed: -1", "'seed' wants 0 or more"),
        ("- 1\n- 2", "wanted keys and values"),
        ("", "got nothing"),
        ("job: [1", "line 1"),
        ("job: loop\njob: build\nout: x", "line 2: the key 'job' stands twice"),
        ("job: !!python/object/apply:os.system [ls]", "could not determine a constructor"),
    ],
)
def test_a_recipe_that_is_none_is_refused(text: str, wanted: str) -> None:
    with pytest.raises(RecipeError, match=r"^r\.yaml: ") as caught:
        recipe_from_text(text, "r.yaml")
    assert wanted in str(caught.value)


def test_changes_reach_into_mappings_and_lists_and_are_read_as_yaml() -> None:
    settings = check(
        "augmentors: [{kind: wide}]",
        "augmentors.0.tilt_deg=5",
        "poseaug.max_bone_stretch=1e-1",
        "parts=[a, b]",
        "shuffle=no",
        "rounds=3",
        "out=s3://b/c",
    )
    assert settings.augmentors == (Wide(tilt_deg=5),)
    assert settings.poseaug.max_bone_stretch == pytest.approx(0.1)
    assert (settings.parts, settings.shuffle, settings.rounds) == (("a", "b"), False, 3)


@pytest.mark.parametrize(
    ("change", "wanted"),
    [
        ("rounds", "wanted KEY=VALUE"),
        ("=3", "wanted KEY=VALUE"),
        ("a..b=3", "wanted KEY=VALUE"),
        ("source.x=3", "'source' is a value ('data'), it has no key 'x'"),
        ("augmentors.4.kind=x", "'augmentors' is a list of 1"),
        ("parts={a", "is not a YAML value"),
    ],
)
def test_a_change_that_cannot_be_made_says_why(change: str, wanted: str) -> None:
    found = message("augmentors: [{kind: wide}]", change)
    assert wanted in found
    assert f"--set {change}" in found


def test_a_quoted_change_is_text_whatever_yaml_thinks_of_it() -> None:
    values: dict[str, object] = {}
    for text in ("no", "1.50", "a: b", "{x}", "ü\n"):
        apply_change(values, quoted_change("out", text))
        assert values["out"] == text


def test_the_resolved_recipe_reads_back_to_the_same_settings_without_secrets() -> None:
    recipe = recipe_from_text(
        HEAD + "rounds: 5\nexecutor: {api_key: abc}", "loop.yaml", ["source=s3://me:pw@b/k"]
    )
    settings = checked_settings(recipe, Settings)
    text = resolved_yaml(recipe, settings)
    assert "pw" not in text
    assert "abc" not in text
    again = recipe_from_text(text, "again.yaml", ["source=s3://me:pw@b/k"])
    assert checked_settings(again, Settings) == settings
    assert again.head.out == recipe.head.out


def test_recipes_are_found_by_name_and_by_path(tmp_path: Path) -> None:
    assert "demo" in builtin_recipes()
    assert find_recipe("demo").name == "demo.yaml"
    own = tmp_path / "own.yaml"
    own.write_text(HEAD)
    assert load_recipe(str(own)).where == "own.yaml"


def test_a_missing_recipe_names_the_nearest_built_in_one(tmp_path: Path) -> None:
    with pytest.raises(RecipeError, match="did you mean 'demo'"):
        find_recipe("dmo")
    with pytest.raises(RecipeError, match="no such file"):
        find_recipe(str(tmp_path / "nothing.yaml"))
    with pytest.raises(RecipeError, match="got a folder"):
        find_recipe(str(tmp_path))


@pytest.mark.parametrize("name", builtin_recipes())
def test_built_in_recipes_are_strict_yaml_with_a_comment_that_explains_them(name: str) -> None:
    recipe = load_recipe(name)
    text = find_recipe(name).read_text(encoding="utf-8")
    assert text.startswith("#")
    assert recipe.head.job
    assert recipe.head.name
    assert yaml.safe_load(text)["out"]


@pytest.mark.parametrize("name", builtin_recipes())
def test_built_in_recipes_fit_the_settings_of_their_jobs(name: str) -> None:
    recipe = load_recipe(name)
    if recipe.settings.get("source", "") is None:  # the user has to give one
        recipe = load_recipe(name, ["source=data/mocap"])
    settings = settings_of(recipe)
    executor_settings(recipe.head.executor, recipe.where)
    if isinstance(settings, BuildSettings):
        assert settings.loop_name in settings.variants()
        assert settings.import_settings().source


def test_a_cluster_differs_from_one_machine_in_numbers_only() -> None:
    one, many = load_recipe("cmu_hdm05"), load_recipe("gpu_cluster")
    assert one.head.job == many.head.job
    assert one.settings["import"] == many.settings["import"]
    assert one.settings["loop"]["augmentor"] == many.settings["loop"]["augmentor"]
