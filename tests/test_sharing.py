"""`saev export` and `saev push`: what they write is read back, and gives the same latents."""

import json
import re
import sys
from pathlib import Path

import pytest
import torch
from analysed import RELU, Case, cycling, vectors
from dictionaries import SETTINGS, make
from dictionaries import vectors as inputs
from safetensors.torch import load_file
from test_elsewhere import POOLED

import saev
from saev.core import logs, stop
from saev.core.errors import UserError
from saev.elsewhere.common_form import Hints
from saev.elsewhere.libraries import look
from saev.settings.elsewhere import ElsewhereSettings
from saev.tools.__main__ import _parser, main
from saev.tools.export import TARGETS, export
from saev.tools.sharing import NAMES
from saev.train.conversion import converted

CLOSE = {"rtol": 1e-5, "atol": 1e-5}


def read_back(path: Path, d: int, scratch: Path):
    settings = ElsewhereSettings(checkpoint=str(path), tokens="pooled")
    return converted(look(path, Hints()), settings, {}, POOLED._replace(d=d), scratch)


def trained(name: str, **changes):
    sae = make(name, **changes).eval()
    sae.stream = "pooled"
    return sae


@pytest.mark.parametrize("name", list(SETTINGS))
def test_an_export_to_sae_lens_has_the_latents_and_reconstructions(name, tmp_path):
    sae, x = trained(name), inputs()
    made = export(sae, "sae-lens", tmp_path / "out")
    assert [path.name for path in made] == ["cfg.json", "sae_weights.safetensors"]
    again = read_back(tmp_path / "out", sae.d, tmp_path)
    torch.testing.assert_close(again.encode(x), sae.encode(x), **CLOSE)
    torch.testing.assert_close(again(x), sae(x), **CLOSE)


@pytest.mark.parametrize("name", list(SETTINGS))
def test_an_export_to_safetensors_says_how_to_use_it(name, tmp_path):
    sae, x = trained(name), inputs()
    (path,) = export(sae, "safetensors", tmp_path / "out")
    held = load_file(path)
    pre = x @ held["W_enc"] + held["b_enc"]
    if "threshold" in held:
        z = torch.where(pre > held["threshold"], pre, 0)
    else:
        kept = pre.relu().topk(sae.settings.k)
        z = torch.zeros_like(pre).scatter(1, kept.indices, kept.values)
    torch.testing.assert_close(z, sae.encode(x), **CLOSE)
    torch.testing.assert_close(z @ held["W_dec"] + held["b_dec"], sae(x), **CLOSE)


def test_an_export_to_saev_is_read_back(tmp_path):
    sae, x = trained("relu", d=10), inputs()[:, :10].contiguous()
    (path,) = export(sae, "saev", tmp_path / "out")
    again = read_back(path, 10, tmp_path)
    torch.testing.assert_close(again.encode(x), sae.encode(x), **CLOSE)
    torch.testing.assert_close(again(x), sae(x), **CLOSE)


def test_what_a_format_can_not_hold_is_refused_and_leaves_nothing(tmp_path):
    for name, said in (("topk", "even if they are negative"), ("jumprelu", "has no thresholds")):
        with pytest.raises(UserError, match=said):
            export(trained(name), "saev", tmp_path / "out")
    with pytest.raises(UserError, match="40 isn't one of 12"):
        export(trained("relu"), "saev", tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_an_export_overwrites_nothing(tmp_path):
    (tmp_path / "mine").write_text("mine")
    for out in (tmp_path, tmp_path / "mine"):
        with pytest.raises(UserError, match="is there already: name a new folder"):
            export(trained("relu"), "sae-lens", out)


def command(*arguments: object) -> int:
    """Run `saev` in this process; return its exit status."""
    parsed = _parser().parse_args([str(argument) for argument in arguments])
    return parsed.run(parsed)


@pytest.fixture(scope="module")
def case(tmp_path_factory):
    """An analysis, as the workflow would leave it."""
    labels = {"kind": cycling(300, "x", "y")}
    made = Case(
        tmp_path_factory.mktemp("shared") / "results/images", vectors(300), labels, sae=RELU
    )
    made.analyse()
    meta = json.loads((made.sae / "meta.json").read_text())
    final = {"nmse": 0.25, "l0": 3.5, "dead": 2, "eval_nmse": 0.3125, "eval_l0": 3.75}
    (made.sae / "meta.json").write_text(json.dumps({**meta, "summary": {"final": final}}))
    return made


def test_the_command_exports_a_run(case, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    assert command("export", case.sae, "--to", "sae-lens", "out") == 0
    assert capsys.readouterr().out == "out/cfg.json\nout/sae_weights.safetensors\n"
    with pytest.raises(UserError, match="there is no directory gone"):
        command("export", "gone", "--to", "sae-lens", "o")
    with pytest.raises(SystemExit):
        command("export", case.sae, "--to", "onnx", "o")


def test_what_the_system_refuses_is_said_in_one_line(case, tmp_path, monkeypatch, capsys):
    (tmp_path / "file").touch()
    out = tmp_path / "file/out"
    monkeypatch.setattr(sys, "argv", ["saev", "export", str(case.sae), "--to", "saev", str(out)])
    monkeypatch.setattr(logs, "start", lambda: None)
    monkeypatch.setattr(stop, "listen", lambda: None)
    with pytest.raises(SystemExit):
        main()
    assert capsys.readouterr().err.startswith(f"error: {out}: a file is where one of its folders")


def test_a_dry_run_of_push_writes_what_it_would_upload(case, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    given = ("push", case.sae, "me/mine", "--license", "mit", "--dry-run", "out")
    assert command(*given) == 0
    assert {path.name for path in (tmp_path / "out").iterdir()} == {
        "README.md",
        "checkpoint.safetensors",
    }
    card = (tmp_path / "out/README.md").read_text()
    assert card.startswith("---\nlicense: mit\n")
    assert "| training | 0.25 | 3.5 |\n| held out | 0.3125 | 3.75 |" in card
    assert "24 latents: relu" in card
    with pytest.raises(UserError, match="out is there already"):
        command(*given)
    with pytest.raises(UserError, match=r"README\.md is there already"):
        command(*given[:-1], "out/README.md")


def test_the_lines_of_use_on_a_card_open_the_dictionary(case, tmp_path, monkeypatch):
    out = tmp_path / "out"
    command("push", case.sae, "me/mine", "--license", "mit", "--dry-run", out)
    code = re.search(r"```python\n(.*?)```", (out / "README.md").read_text(), re.S)[1]
    monkeypatch.setattr("huggingface_hub.snapshot_download", lambda repo: str(out))
    x = torch.from_numpy(vectors(300))[:8]
    scope = {"x": x}
    exec(code, scope)
    assert torch.equal(scope["z"], saev.load(case.sae).encode(x))


def test_a_card_has_the_figures_of_the_analysis_beside_their_baseline(case):
    from saev.tools.push import card

    text = card(case.sae, case.out, "me/mine", "mit")
    splits = json.loads((case.out / "meta.json").read_text())["summary"]["splits"]
    found = splits["held_out"]
    shown = [f"{found[key]:.4g}" for key in ("nmse", "l0", "pca_nmse")]
    assert f"| held-out images | {found['n_images']} | {' | '.join(shown)} |" in text


@pytest.mark.parametrize("repo", ["mine", "a/b/c", "../x", "a b/c"])
def test_a_name_that_can_not_be_on_the_hub_is_refused(case, repo):
    with pytest.raises(UserError, match="can't be on the hub: write OWNER/NAME"):
        command("push", case.sae, repo, "--license", "mit")


def test_a_hub_that_refuses_is_one_line(case, tmp_path, monkeypatch):
    from saev.tools.push import push

    monkeypatch.setattr("huggingface_hub.constants.ENDPOINT", "http://127.0.0.1:9")
    monkeypatch.setenv("HF_TOKEN", "none")
    with pytest.raises(UserError, match=r"can't push to me/mine: .*hf auth login") as caught:
        push(case.sae, "me/mine", "mit", None)
    assert "\n" not in str(caught.value)


def test_every_target_can_be_named():
    assert set(TARGETS) == set(NAMES)
