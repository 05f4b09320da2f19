"""Settings: strict, with a digest that survives new fields, explained when they are wrong."""

import copy

import pytest
from pydantic import Field

from saev.core.errors import UserError
from saev.core.spec import parsed
from saev.settings.component import Settings, digest
from saev.settings.config import Config, parse, schema, unused
from saev.settings.images import (
    SOURCE_SETTINGS,
    AnyImagesSettings,
    FolderSettings,
    HubSettings,
    ParquetSettings,
    SavedSettings,
)
from saev.settings.sae import SAE_SETTINGS
from saev.workflow.digests import ROOT

GOOD = {
    "images": {"photos": {"folder": "photos"}},
    "vit": {
        "clip": {"model": "ViT-B-16", "weights": "openai", "layers": [11, 6], "tokens": ["cls"]}
    },
    "sae": {
        "small": {
            "architecture": "topk",
            "layer": 11,
            "tokens": "cls",
            "n_latents": 8,
            "k": 2,
            "batch_size": 4,
            "epochs": 1,
            "lr": 0.1,
        }
    },
    "analysis": {"plain": {}},
    "runs": [{"images": "photos", "vit": "clip", "sae": "small", "analysis": "plain"}],
}

MATRYOSHKA = {**GOOD["sae"]["small"], "architecture": "matryoshka"}
JUMPRELU = {k: v for k, v in GOOD["sae"]["small"].items() if k != "k"} | {
    "architecture": "jumprelu",
    "sparsity": 0.1,
}

RELU = {k: v for k, v in JUMPRELU.items() if k != "sparsity"} | {"architecture": "relu", "l1": 0}

HUB = {"hub": "a/b", "revision": "v1", "n_images": 3}
HUB_TOWER = {"layers": [11], "tokens": ["cls"]}


def with_change(path, value):
    raw = copy.deepcopy(GOOD)
    *parents, last = path.split("/")
    place = raw
    for key in parents:
        place = place[int(key)] if isinstance(place, list) else place[key]
    place[last] = value
    return raw


def test_good_settings_are_accepted_and_layers_are_sorted():
    assert parse(GOOD).vit["clip"].layers == (6, 11)


@pytest.mark.parametrize(
    ("path", "value", "said"),
    [
        ("sae/small/epoch", 3, ["sae.small.epoch", "unknown key", "did you mean 'epochs'"]),
        ("sae/small/l1", 3, ["sae.small.l1", "unknown key", "architecture topk"]),
        ("sae/small/lr", "1e-4", ["sae.small.lr", "'1e-4'", "write 0.0001"]),
        ("sae/small/lr", float("nan"), ["sae.small.lr", "finite"]),
        ("sae/small/k", 9, ["k: 9 is larger than n_latents: 8"]),
        (
            "sae/small/architecture",
            "topc",
            ["topc", "topk, batchtopk, matryoshka", "did you mean 'topk'"],
        ),
        ("sae/small/l1", 0.1, ["sae.small.l1: unknown key", "architecture topk"]),
        ("sae/small", MATRYOSHKA | {"widths": [4, 6]}, ["the last, 6, must be n_latents: 8"]),
        ("sae/small", MATRYOSHKA | {"widths": [8, 4]}, ["widths: [8, 4] must ascend"]),
        ("sae/small", MATRYOSHKA | {"widths": [1, 8]}, ["the first, 1, is smaller than k: 2"]),
        ("sae/small", JUMPRELU | {"l0_target": 9}, ["l0_target: 9 is larger than n_latents: 8"]),
        ("sae/small", JUMPRELU | {"initial_threshold": "data"}, ["data needs l0_target"]),
        ("sae/small", JUMPRELU | {"initial_threshold": 0}, ["initial_threshold", "greater than 0"]),
        ("sae/small", JUMPRELU | {"initial_threshold": "dat"}, ["initial_threshold", "'data'"]),
        (
            "sae/small",
            JUMPRELU | {"sparsity": 0, "sparsity_warmup_steps": 9},
            ["sparsity_warmup_steps: 9 needs a sparsity above 0", "allowed: 0"],
        ),
        ("sae/small", RELU | {"l1_warmup_steps": 9}, ["l1_warmup_steps: 9 needs an l1 above 0"]),
        ("sae/small/layer", 3, ["layer 3", "[6, 11]"]),
        ("sae/small/tokens", "patches", ["patches", "['cls']"]),
        ("sae/small/aux_k", 4, ["aux_k and aux_coefficient go together"]),
        ("sae/small/schedule", "cosin", ["sae.small.schedule", "'cosin'", "'constant', 'cosine'"]),
        ("sae/small/lr_end", 0.1, ["lr_end: 0.1 needs schedule: cosine or linear", "allowed: 0"]),
        ("sae/small/decay_from", 0.5, ["decay_from: 0.5 needs schedule", "allowed: 0"]),
        ("sae/small/decay_from", 1, ["sae.small.decay_from: 1", "less than 1"]),
        ("sae/small/clip_norm", 0, ["sae.small.clip_norm: 0", "greater than 0"]),
        (
            "sae/small/b_dec_init",
            "median",
            ["b_dec_init: 'median'", "'mean' or 'geometric_median'"],
        ),
        ("sae/small/init", "random", ["sae.small.init: 'random'", "'tied' or 'data'"]),
        ("sae/small/resample_until", 0.7, ["resample_until: 0.7 needs resample_every"]),
        ("sae/small/min_improvement", 0.1, ["min_improvement: 0.1 needs patience", "allowed: 0"]),
        (
            "sae/small/patience",
            2,
            ["patience: 2 needs held-out images", "held_out a share above 0"],
        ),
        ("vit/clip/tokens", ["CLS"], ["vit.clip.tokens[0]", "'cls', 'patches' or 'pooled'"]),
        ("vit/clip/shard_images", 100, ["shard_images", "multiple of 256"]),
        ("vit/clip/weights", None, ["weights is missing"]),
        ("images/photos/n_images", 5, ["n_images and version go together"]),
        (
            "images/photos",
            {},
            ["images.photos: needs exactly one of folder, hub, saved, parquet, tars"],
        ),
        ("images/photos", {}, ["it has none"]),
        ("images/photos", "photos", ["images.photos: needs exactly one of folder, hub"]),
        ("images/photos", {"foldr": "a"}, ["it has none; did you mean 'folder'?"]),
        ("images/photos", {"folder": "a", "tars": "b"}, ["it has folder and tars"]),
        (
            "images/photos/key",
            "id",
            ["images.photos.key: unknown key of source folder", "belongs to hub, saved, parquet;"],
        ),
        (
            "images/photos/n_image",
            3,
            ["images.photos.n_image: unknown", "did you mean 'n_images'?"],
        ),
        (
            "images/photos",
            HUB | {"version": "1"},
            ["version: unknown key of source hub", "revision"],
        ),
        (
            "images/photos",
            {"hub": "a/b", "n_images": 3},
            ["photos.revision: missing. Commit or tag"],
        ),
        (
            "images/photos",
            {"hub": "a/b", "revision": "1"},
            ["n_images: missing", "nothing is downloaded"],
        ),
        ("vit/clip", HUB_TOWER | {"model": "hf-hub:a"}, ["vit.clip.model: 'hf-hub:a' can't be on"]),
        ("vit/clip", HUB_TOWER | {"model": "hf-hub:a/b/c"}, ["write hf-hub:owner/name or"]),
        ("vit/clip", HUB_TOWER | {"model": "hf-hub:a/b@"}, ["hf-hub:owner/name@commit"]),
        ("vit/clip", HUB_TOWER | {"model": "hf-hub:me/-b"}, ["can't be on the hub"]),
        ("vit/clip", HUB_TOWER | {"model": "hf-hub:me/a..b"}, ["can't be on the hub"]),
        ("vit/clip", HUB_TOWER | {"model": "hf-hub: me/b"}, ["can't be on the hub"]),
        ("images/photos/made", True, ["made: true needs n_images and version"]),
        ("images/photos/gray_range", [1], ["photos.gray_range: [1]: has too few values"]),
        ("images/photos/gray_range", [1, 2, 3], ["gray_range: [1, 2, 3]: at most 2 values"]),
        ("images/photos/on_bad_image", "skp", ["'skp'", "did you mean 'skip'"]),
        ("analysis/plain/labels", {"x": {}}, ["exactly one of folder"]),
        ("analysis/plain/labels", {"x": {"tabel": "a.csv"}}, ["did you mean 'table'"]),
        ("analysis/plain/on", "photo", ["there is no 'photo'", "did you mean 'photos'"]),
        ("runs/0/vit", "clpi", ["runs[0].vit", "there is no 'clpi'", "did you mean 'clip'"]),
        ("runs", [], ["runs: []: must not be empty"]),
        ("runs", [["clip"]], ["runs[0]: a list: must be a mapping of keys"]),
        ("runs/0/vit", "", ["runs[0].vit: '': isn't a name of an entry"]),
        ("vit", None, ["vit: is empty: must be a mapping of names"]),
        ("vit/clip/tokens", "cls", ["tokens: 'cls': must be a list, such as [a, b]"]),
        ("vit/clip/weights", "", ["vit.clip.weights: '': must not be empty"]),
        ("vit/clip/weights_sha256", "abc", ["weights_sha256: 'abc': must be 64 digits"]),
        ("sae/small/seed", 10**30, ["sae.small.seed: 1e+30: is too large"]),
        ("sae/small/n_latents", -(10**30), ["sae.small.n_latents: -1e+30: is too large"]),
        ("sae/small/n_latents", 2**31, ["sae.small.n_latents: 2147483648: must be less than"]),
        ("analysis/plain/top_images", 10**9, ["top_images: 1000000000: must be less than"]),
        ("sae/small", None, ["sae.small: is empty: must be a mapping of keys"]),
        ("images/photos", None, ["images.photos: needs exactly one of folder"]),
        ("images/photos/folder", "a\0b", ["no path holds a character of number 0"]),
        ("analysis/plain/labels", {"": {"folder": True}}, ["plain.labels.: '': must not be empty"]),
        ("compute", None, ["compute: is empty: must be a mapping of keys, or leave the key out"]),
        ("compute", {"threads": 10**6}, ["compute.threads: 1000000: must be less than"]),
        ("image", {}, ["image: unknown key", "did you mean 'images'"]),
        ("images/a b", {"folder": "x"}, ["a b"]),
    ],
)
def test_a_wrong_setting_is_named_with_its_value_and_what_is_allowed(path, value, said):
    with pytest.raises(UserError) as caught:
        parse(with_change(path, value))
    for text in said:
        assert text in str(caught.value)


@pytest.mark.parametrize("name", ["a/b", "Me-2/a.b_C", "me/b@0123456789abcdef", "me/b@refs/pr/1"])
def test_names_of_towers_on_the_hub_pass(name):
    raw = with_change("vit/clip", HUB_TOWER | {"model": f"hf-hub:{name}"})
    raw["sae"]["small"]["layer"] = 11
    assert parse(raw).vit["clip"].model == f"hf-hub:{name}"


def test_a_source_that_is_set_to_null_gives_way_to_another():
    # As when a file of settings replaces the source of an entry of config.yaml.
    both = parse(with_change("images/photos", {"folder": None, "tars": "a.tar"}))
    alone = parse(with_change("images/photos", {"tars": "a.tar"}))
    assert both.images == alone.images


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ({"folder": "photos"}, "6f1ff823"),
        ({"folder": "p", "made": True, "n_images": 3, "version": "1"}, "c80d687e"),
        (HUB | {"config": "c", "split": "test", "image": "photo", "key": "id"}, "6c1a89e4"),
        ({"saved": "s", "split": "test", "max_pixels": 5}, "8f2766d7"),
        ({"parquet": "p/*.parquet", "image": "photo"}, "8ac2264e"),
        ({"tars": "t/*.tar", "image": "png"}, "f7b5ed6d"),
    ],
)
def test_digests_of_each_source_never_change(given, expected):
    settings = parsed(AnyImagesSettings, given)
    assert digest(settings.essential()) == expected
    assert parsed(AnyImagesSettings, settings.essential()) == settings


def test_the_extension_of_images_in_tars_is_in_the_digest_also_where_it_is_image():
    plain = parsed(AnyImagesSettings, {"tars": "a.tar"})
    assert (
        parsed(AnyImagesSettings, {"tars": "a.tar", "image": "image"}).essential()
        != plain.essential()
    )
    assert parsed(AnyImagesSettings, {"saved": "a", "image": "image"}).essential() == {"saved": "a"}


def test_a_moved_source_has_another_path_and_a_hub_data_set_the_same_name():
    moved = FolderSettings(folder="photos", max_pixels=5).moved(lambda path: f"/data/{path}")
    assert moved == FolderSettings(folder="/data/photos", max_pixels=5)
    hub = HubSettings(**HUB)
    assert hub.moved(lambda path: f"/data/{path}") == hub


def test_what_follows_from_another_problem_is_not_said():
    """pydantic calls a list without a good item too short, and says so beside each item."""
    with pytest.raises(UserError) as caught:
        parse(with_change("vit/clip/tokens", [["cls"]]))
    assert str(caught.value).count("\n") == 1


def test_all_problems_are_reported_at_once():
    raw = with_change("sae/small/lr", "fast")
    raw["vit"]["clip"]["dtype"] = "float8"
    with pytest.raises(UserError) as caught:
        parse(raw)
    assert "sae.small.lr" in str(caught.value)
    assert "vit.clip.dtype" in str(caught.value)


def test_a_new_field_at_its_neutral_value_changes_no_digest():
    class Old(Settings):
        rate: float = Field()

    class New(Old):
        decay: float = 0.0

    assert digest(Old(rate=1.0).essential()) == digest(New(rate=1.0).essential())
    assert digest(New(rate=1.0, decay=0.5).essential()) != digest(New(rate=1.0).essential())


def test_digests_of_known_settings_never_change():
    # A changed value here renames every result that users have.
    config = parse(GOOD)
    assert digest(config.images["photos"].essential()) == "6f1ff823"
    assert digest(config.vit["clip"].essential()) == "2e623b6e"
    assert digest(config.sae["small"].essential()) == "0cbc7e44"
    assert digest(config.analysis["plain"].essential()) == "44136fa3"


def test_what_can_not_change_a_result_is_in_no_digest():
    plain = parse(GOOD).images["photos"]
    loud = parse(with_change("images/photos/on_bad_image", "skip")).images["photos"]
    credited = parse(with_change("images/photos/credit", "me")).images["photos"]
    assert plain.essential() == loud.essential() == credited.essential()


def test_every_field_is_explained():
    missing = []
    for name, model in schema()["$defs"].items():
        for field, rules in model["properties"].items():
            if not (rules.get("description") or rules.get("const") or "$ref" in rules):
                missing.append(f"{name}.{field}")
    assert missing == []
    assert set(schema()["properties"]) == set(Config.model_fields)


def test_neutral_values_never_change():
    # A neutral value stands for "left out of the digest", so changing one changes what old results
    # mean.
    found = {
        f"{name}.{field}": rules["default"]
        for name, model in schema()["$defs"].items()
        for field, rules in model["properties"].items()
        if "default" in rules and name not in ("ComputeSettings", "TrainSettings")
    }
    sae = {
        "normalisation": "none",
        "warmup_steps": 0,
        "seed": 0,
        "init_seed": None,
        "shuffled_dimensions": False,
        "held_out": 0.0,
        "held_out_by": None,
        "init_rows": 16384,
        "layer": None,
        "log_every": 50,
        "eval_every": 500,
        "aux_k": 0,
        "aux_coefficient": 0.0,
        "dead_after": 100_000,
        "schedule": "constant",
        "decay_from": 0.0,
        "lr_end": 0.0,
        "clip_norm": None,
        "b_dec_init": "mean",
        "init": "tied",
        "resample_every": None,
        "resample_until": 0.5,
        "patience": None,
        "min_improvement": 0.0,
        "processes": 1,
    }
    jumprelu = {
        "sparsity_warmup_steps": 0,
        "l0_target": None,
        "bandwidth": 0.001,
        "initial_threshold": 0.001,
        "threshold_rate": 1.0,
    }
    images = {
        "credit": None,
        "max_pixels": 178_956_970,
        "gray_range": None,
        "n_images": None,
        "on_bad_image": "error",
    }
    assert found == {
        "AnalysisSettings.labels": {},
        "AnalysisSettings.names": None,
        "AnalysisSettings.projection": False,
        "AnalysisSettings.score_names": False,
        "AnalysisSettings.on": None,
        "AnalysisSettings.top_images": 16,
        "AnalysisSettings.codes_gib": 4.0,
        "EvaluationSettings.redundancy": True,
        "EvaluationSettings.spatial": True,
        "EvaluationSettings.stability": True,
        "EvaluationSettings.coactivation": False,
        "EvaluationSettings.probing": [],
        "EvaluationSettings.downstream": None,
        "EvaluationSettings.ablation": None,
        "EvaluationSettings.zero_shot": None,
        "EvaluationSettings.absorption": None,
        "EvaluationSettings.monosemanticity": None,
        "EvaluationSettings.masks": None,
        "EvaluationSettings.vocabulary": None,
        "EvaluationSettings.seed": 0,
        "RunSettings.evaluation": None,
        "RunSettings.baselines": [],
        **{
            f"{cls.__name__}.{key}": value
            for cls in SOURCE_SETTINGS.values()
            for key, value in images.items()
            if (cls, key) != (HubSettings, "n_images")
        },
        **{
            f"{cls.__name__}.{key}": value
            for cls in (HubSettings, SavedSettings, ParquetSettings)
            for key, value in {"image": "image", "key": None}.items()
        },
        **{
            f"{cls.__name__}.version": None
            for cls in SOURCE_SETTINGS.values()
            if cls is not HubSettings
        },
        "FolderSettings.made": False,
        "HubSettings.config": None,
        "HubSettings.split": "train",
        "SavedSettings.split": "train",
        "TarsSettings.image": None,
        "LabelSettings.column": None,
        "MaskSettings.ending": ".png",
        "MaskSettings.pixels": "index",
        "MaskSettings.unnamed": "refuse",
        "MaskSettings.sha256": None,
        "LabelSettings.folder": False,
        "LabelSettings.key": "path",
        "LabelSettings.sha256": None,
        "LabelSettings.source": None,
        "LabelSettings.table": None,
        "ParitySettings.n_images": 300,
        "ParitySettings.noise": 2.0,
        "ParitySettings.rounding": 0.0001,
        "ParitySettings.steps": 100,
        "ParitySettings.trained": 0.001,
        "ReferenceSettings.from_step": 0,
        "ReferenceSettings.sha256": None,
        "RunSettings.reference": None,
        "VitSettings.dtype": "float16",
        "VitSettings.image_size": None,
        "VitSettings.layers": [],
        "VitSettings.like": None,
        "VitSettings.made": False,
        "VitSettings.precision": "float32",
        "VitSettings.shard_images": 4096,
        "VitSettings.weights": None,
        "VitSettings.weights_seed": 0,
        "VitSettings.weights_sha256": None,
        **{
            f"{cls.__name__}.{key}": value
            for cls in SAE_SETTINGS.values()
            for key, value in sae.items()
        },
        **{f"JumpReluSettings.{key}": value for key, value in jumprelu.items()},
        **{
            f"ElsewhereSettings.{key}": value
            for key, value in {
                "layer": None,
                "selects": None,
                "k": None,
                "seed": 0,
                "held_out": 0.0,
                "held_out_by": None,
            }.items()
        },
        "MatryoshkaSettings.over": "batchtopk",
        "ArchetypalSettings.relaxation": 0.0,
        "ReluSettings.l1_warmup_steps": 0,
        "ReluSettings.mse_over_norm": False,
        "ReluSettings.ghost_gradients": False,
    }


def test_the_settings_reference_of_the_docs_is_up_to_date():
    from saev.settings.markdown import reference

    assert (ROOT / "docs/settings.md").read_text() == reference(), (
        "run: python -m saev.settings.markdown > docs/settings.md"
    )


def test_on_written_in_yaml_is_the_setting_on():
    import yaml

    raw = {**GOOD, "analysis": yaml.safe_load("{plain: {}, other: {on: photos}}")}
    assert parse(raw).analysis["other"].on == "photos"


def test_a_whole_number_that_yaml_takes_for_text_is_shown_as_one():
    raw = copy.deepcopy(GOOD)
    name = next(iter(raw["sae"]))
    raw["sae"][name]["n_latents"] = "1e3"
    with pytest.raises(UserError, match="write 1000\\)"):
        parse(raw)


def test_entries_that_no_run_names_are_known():
    given = copy.deepcopy(GOOD)
    given["images"]["birds"] = {"folder": "birds"}
    given["analysis"]["spare"] = {"on": "birds"}
    assert unused(parse(given)) == ["images.birds", "analysis.spare"]
    given["runs"][0]["analysis"] = "spare"
    assert unused(parse(given)) == ["analysis.plain"]


def test_a_name_that_cannot_be_used_gets_one_true_message():
    given = copy.deepcopy(GOOD)
    given["sae"]["zürich"] = {"k": 3}
    given["images"]["my birds"] = {}
    with pytest.raises(UserError) as caught:
        parse(given)
    assert str(caught.value).count("a name may have only letters") == 2
    assert "architecture" not in str(caught.value)


def test_a_missing_architecture_and_a_long_value_are_said_in_short():
    given = copy.deepcopy(GOOD)
    given["sae"]["bare"] = {"k": 3}
    given["images"]["long"] = {"folder": "x", "max_pixels": "9" * 5000}
    with pytest.raises(UserError) as caught:
        parse(given)
    assert "sae.bare.architecture: missing; allowed: topk" in str(caught.value)
    assert len(str(caught.value)) < 700


@pytest.mark.parametrize(
    ("written", "said"),
    [
        ("sae: {small: {lr: '0,003'}}", "sae.small.lr: '0,003': must be a number (write 0.003)"),
        (
            "images: {photos: {folder: a, n_images: 3, version: 2024-05-01}}",
            "images.photos.version: YAML reads this as a date: put it in quotes, "
            'such as "2024-05-01"',
        ),
        (
            "images: {photos: {folder: a, n_images: 3, version: 2024-05-01 10:00:00}}",
            "images.photos.version: YAML reads this as a date",
        ),
        (
            "images: {photos: {folder: a, n_images: 3, version: 1.10}}",
            "images.photos.version: 1.1: must be text (YAML reads this as a number",
        ),
        (
            "images: {photos: {folder: a, n_images: 3, version: 010}}",
            "(YAML reads this as a number",
        ),
        (
            "images: {photos: {folder: a, n_images: 3, version: 12:30}}",
            "(YAML reads this as a number",
        ),
        ("images: {photos: {folder: no}}", "images.photos.folder: False: must be text"),
        ("images: {photos: {folder: no}}", "(YAML reads this as true or false: put it in quotes)"),
        ("images: {2024-05-01: {folder: a}}", "images.2024-05-01: YAML reads this as a date"),
        (
            "images: {2024: {folder: a}}",
            "images.2024: YAML reads this as a number: put it in quotes",
        ),
        ("images: {yes: {folder: a}}", "images.True: YAML reads this as true or false"),
        ("images: {~: {folder: a}}", "images.None: YAML reads this as nothing"),
        ("analysis: {plain: {labels: {off: {folder: true}}}}", "analysis.plain.labels.False: YAML"),
        ("runs: [{images: 2024-05-01, vit: a, sae: b, analysis: c}]", "runs[0].images: YAML reads"),
        ("sae: {small: {normalisation: off}}", "YAML reads this as true or false"),
        (
            "images: {photos: {folder: !!binary aGVsbG8=}}",
            "images.photos.folder: bytes: must be text",
        ),
    ],
)
def test_what_yaml_reads_in_another_way_is_named_with_the_remedy(written, said):
    import yaml

    raw = copy.deepcopy(GOOD)
    for section, given in yaml.safe_load(written).items():
        if section == "sae":
            raw["sae"]["small"] |= given["small"]
        else:
            raw[section] = given
    with pytest.raises(UserError) as caught:
        parse(raw)
    assert said in str(caught.value)


def test_a_tilde_is_the_home_folder_in_every_path(monkeypatch, tmp_path):
    monkeypatch.setenv("HOME", str(tmp_path))
    raw = copy.deepcopy(GOOD)
    raw["images"]["photos"] = {"folder": "~/photos/"}
    raw["vit"]["clip"] |= {"model": "~/m.json", "weights": "~/w.pt"}
    raw["analysis"]["plain"]["labels"] = {"x": {"table": "~/l.csv"}}
    raw["references"] = {"old": {"curve": "~/c.jsonl", "tolerance": {"nmse": 0.1}}}
    config = parse(raw)
    assert config.images["photos"].folder == f"{tmp_path}/photos"
    assert (config.vit["clip"].model, config.vit["clip"].weights) == (
        f"{tmp_path}/m.json",
        f"{tmp_path}/w.pt",
    )
    assert config.analysis["plain"].labels["x"].table == f"{tmp_path}/l.csv"
    assert config.references["old"].curve == f"{tmp_path}/c.jsonl"
    for source in ("saved", "parquet", "tars"):
        raw["images"]["photos"] = {source: "~/photos"}
        assert getattr(parse(raw).images["photos"], source) == f"{tmp_path}/photos"
    raw["images"]["photos"] = {"folder": "~nobody-here/photos"}
    with pytest.raises(UserError, match=r"~nobody-here/photos: there is no home folder"):
        parse(raw)
