"""The command line: documents on standard output, sentences on standard error, the documented exit codes."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest
import typer

from mft_engine.cli import main
from mft_engine.cli.doctor import known_bad_pairs
from mft_engine.cli.program import app
from mft_engine.recipe import load_recipe

SMALL = ["--set", "network.n_neurons=64", "--set", "foreground.n_neurons=64", "--set", "training.time=0.5",
         "--set", "comparison.n_permutations=99"]  # fmt: skip


def call(capsys: pytest.CaptureFixture[str], *arguments: str) -> tuple[int, str, str]:
    with pytest.raises(SystemExit) as exit_:
        main(list(arguments))
    out, err = capsys.readouterr()
    return int(exit_.value.code or 0), out, err


def test_run_prints_one_json_document_with_the_promised_keys(capsys, tmp_path) -> None:
    code, out, err = call(capsys, "run", "clover", *SMALL, "--out", str(tmp_path), "--json")
    summary = json.loads(out, parse_constant=lambda name: pytest.fail(f"{name} in the JSON"))
    assert code == 0 and "train" in err
    assert summary["schema"] == "mft-lab/summary/1" and summary["recipe"] == "clover" and summary["seed"] == 0
    assert set(summary) >= {"digest", "device", "dtype", "background", "foreground", "theory", "certificate",
                            "comparison", "kernel", "feature_learning", "layers", "run_dir"}  # fmt: skip
    assert set(summary["background"]) >= {"loss", "test_loss", "n_neurons", "n_steps", "step_size", "eta_theta",
                                          "seconds", "steps_per_second", "kind"}  # fmt: skip
    assert set(summary["comparison"]) >= {"energy_distance", "null_mean", "null_95", "p_value", "function_alignment",
                                          "ratio", "verdict", "energy_distance_weights"}  # fmt: skip
    assert summary["theory"]["loss"] == pytest.approx(0.2933113, abs=1e-4)
    stored = json.loads((Path(summary["run_dir"]) / "summary.json").read_text())
    assert stored == summary


def test_the_same_recipe_gives_the_same_numbers_twice_and_another_seed_others(capsys, tmp_path) -> None:
    losses = []
    for seed in (0, 0, 1):
        _, out, _ = call(capsys, "run", "clover", *SMALL, "--set", f"seed={seed}", "--out", str(tmp_path), "--json")
        losses.append(json.loads(out)["background"]["loss"])
    assert losses[0] == losses[1] != losses[2]


def single_valued() -> list[tuple[list[str], str]]:
    """Every option of every command that can have one value: the words before it, and its name."""
    program = typer.main.get_command(app)
    commands = {(): program, **{(name,): command for name, command in program.commands.items()}}
    return [
        (list(words), option.opts[0])
        for words, command in commands.items()
        for option in command.params
        if option.param_type_name == "option" and not (option.multiple or option.is_flag)
    ]


@pytest.mark.parametrize(("words", "option"), single_valued(), ids=lambda part: "".join(part))
def test_an_option_that_has_one_value_is_refused_when_it_is_given_twice(capsys, words, option) -> None:
    code, out, err = call(capsys, *words, option, "1", f"{option}=2")
    assert (code, out) == (2, "") and f"{option} is given twice" in err


def test_formats_and_data_given_twice_are_all_written(capsys, tmp_path) -> None:
    _, out, _ = call(capsys, "run", "clover", *SMALL, "--out", str(tmp_path), "--json")
    folder, figures = json.loads(out)["run_dir"], tmp_path / "figures"
    words = ["--figure", "loss", "--figure", "background", "--format", "svg", "--format", "png,svg"]
    code, out, err = call(
        capsys, "export", folder, *words, "--data", "csv", "--data", "npz", "--animation", "gif", "--animation", "apng",
        "--out", str(figures),
    )  # fmt: skip
    assert code == 0, err
    written = {path.name for path in figures.iterdir()}
    assert written == {
        "background-animated.png", "background.gif", "background.png", "background.svg", "clouds.csv", "clouds.npz",
        "loss.png", "loss.svg",
    }  # fmt: skip
    assert len(out.split()) == len(written)


@pytest.mark.parametrize(
    ("arguments", "code", "words"),
    [
        (["run", "clovr"], 2, ["'clovr'", "clover"]),
        (["run", "clover", "--set", "regularisation.scal=1"], 2, ["regularisation.scal", "regularisation.scale"]),
        (["run", "clover", "--set", "regularisation.scale=-1"], 2, ["regularisation.scale = -1", "greater than 0"]),
        (["run", "clover", "--set", "regularisation.scale"], 2, ["path=value"]),
        (["run", "clover", "--set", "task.name=prodct"], 2, ["'prodct'", "product"]),
        (["run", "clover", "--set", "task.name=expression", "--set", "task.expression=x1^2"], 2, ["write **"]),
        (["run", "clover", "--set", "engine.device=cuda:7"], 2, ["cuda:7", "cpu"]),
        (["run", "clover", "--set", "training.temperature=0"], 2, ["training.temperature", "gaussian"]),
        (["theory", "sgd-clover"], 2, ["temperature 0"]),
        (["nothing"], 2, ["nothing"]),
        (["run"], 2, ["recipe"]),
        (["export", "nowhere", "--figure", "loss"], 1, ["nowhere"]),
    ],
)
def test_a_bad_request_ends_in_one_sentence_and_the_documented_code(capsys, tmp_path, arguments, code, words) -> None:
    if arguments[0] == "run" and len(arguments) > 1:
        arguments = [*arguments, "--out", str(tmp_path), "--json"]
    got, out, err = call(capsys, *arguments)
    assert got == code and out == "" and "Traceback" not in err
    for word in words:
        assert word.lower() in err.lower()
    assert not list(tmp_path.iterdir())


def test_a_folder_that_cannot_be_written_is_refused_before_computing(capsys, tmp_path) -> None:
    blocked = tmp_path / "file"
    blocked.write_text("not a folder")
    code, out, err = call(capsys, "run", "clover", "--out", str(blocked), "--json")
    assert code == 1 and out == "" and str(blocked) in err and "Traceback" not in err
    assert "train" not in err


def test_a_diverging_run_says_so_and_keeps_the_last_good_state(capsys, tmp_path) -> None:
    code, out, err = call(
        capsys, "run", "sgd-clover-free", *SMALL[:4], "--set", "training.step_size=900", "--set",
        "regularisation.scale=1", "--out", str(tmp_path), "--json",
    )  # fmt: skip
    assert code == 1 and out == ""
    assert "diverged at step" in err and "training.step_size" in err and "Traceback" not in err
    (folder,) = tmp_path.iterdir()
    assert (folder / "checkpoint.safetensors").exists()


def test_several_changes_are_applied_together(capsys, tmp_path) -> None:
    changes = ["training.dynamics=sgd", "training.temperature=0", 'initial.law="gaussian"', "training.step_size=0.1",
               "training.n_steps=20", "training.preconditioner=none"]  # fmt: skip
    flags = [word for change in changes for word in ("--set", change)]
    code, out, _ = call(capsys, "run", "clover", *SMALL, *flags, "--out", str(tmp_path), "--json")
    assert code == 0 and json.loads(out)["theory"] is None


def test_lists_have_a_line_and_a_json_row_for_each_thing(capsys) -> None:
    for command in ("tasks", "recipes"):
        _, text, _ = call(capsys, command)
        _, document, _ = call(capsys, command, "--json")
        assert len(text.strip().splitlines()) == len(json.loads(document)) > 9


def test_theory_prints_the_documented_numbers(capsys) -> None:
    _, out, _ = call(capsys, "theory", "clover", "--json")
    document = json.loads(out)
    assert document["schema"] == "mft-lab/theory/2" and document["gap"] < 1e-6
    assert document["order_parameters"]["cos4"] == pytest.approx(-0.5581957, abs=1e-4)


def test_compare_gives_the_statistics_of_two_stored_clouds(capsys, tmp_path) -> None:
    folders = []
    for background in ("trained", "lazy"):
        changes = [f"foreground.background={background}", "network.n_neurons=512", "training.time=3"]
        flags = [word for change in changes for word in ("--set", change)]
        _, out, _ = call(capsys, "run", "clover", *SMALL, *flags, "--out", str(tmp_path), "--json")
        folders.append(json.loads(out)["run_dir"])
    _, same, _ = call(capsys, "compare", folders[0], folders[0], "--json")
    _, other, _ = call(capsys, "compare", *folders, "--json")
    assert json.loads(same)["energy_distance"] == pytest.approx(0, abs=1e-5)
    assert json.loads(other)["verdict"] == "inconsistent"
    _, told, _ = call(capsys, "compare", folders[0], folders[0])
    assert "-0.0" not in told and "energy distance 0.0000, 0.00 times" in told


def test_every_command_has_help_with_an_example(capsys) -> None:
    commands = "gui run theory widths sweep compare export tasks recipes runs doctor bench"
    for command in commands.split():
        code, out, _ = call(capsys, command, "--help")
        assert code == 0 and "Example: mft-lab" in " ".join(out.split())


def test_version_and_doctor(capsys) -> None:
    assert call(capsys, "--version")[1].startswith("mft-lab ")
    code, out, _ = call(capsys, "doctor", "--json")
    document = json.loads(out)
    assert document["packages"]["torch"] and "cpu" in document["devices"] and code == (1 if document["problems"] else 0)


@pytest.mark.parametrize(
    ("qt", "plots", "python", "is_bad"),
    [
        ("6.10.3", "0.14.0", (3, 11), False),
        ("6.12.0", "0.15.0", (3, 11), True),
        ("6.12.0", "0.15.0", (3, 12), False),
        ("6.11.1", "0.14.0", (3, 12), True),
    ],
)
def test_known_bad_pairs_are_named_with_what_to_install(qt, plots, python, is_bad) -> None:
    sentences = known_bad_pairs({"PySide6-Essentials": qt, "pyqtgraph": plots}, python)
    assert bool(sentences) is is_bad
    assert all(qt in sentence and "pip install" in sentence for sentence in sentences)


def test_an_interrupted_run_ends_with_130_and_resumes_to_the_same_bits(tmp_path) -> None:
    recipe = tmp_path / "slow.toml"
    recipe.write_text(load_recipe("clover").replace({"network.n_neurons": 1024, "training.time": 6.0,
                                                     "foreground.n_neurons": 64}).to_toml())  # fmt: skip
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    command = [sys.executable, "-m", "mft_engine.cli", "run", str(recipe), "--json"]
    process = subprocess.Popen([*command, "--out", str(tmp_path / "cut")], stdout=subprocess.PIPE,
                               stderr=subprocess.PIPE, text=True, env=environment)  # fmt: skip
    for line in process.stderr:
        if line.startswith("train"):
            process.send_signal(signal.SIGINT)
            break
    rest = process.stderr.read()
    assert process.wait(60) == 130 and "--resume" in rest and process.stdout.read() == ""
    process.stdout.close()
    process.stderr.close()
    documents = []
    for flags in (["--out", str(tmp_path / "cut"), "--resume"], ["--out", str(tmp_path / "whole")]):
        done = subprocess.run([*command, *flags], capture_output=True, text=True, env=environment, check=True)
        documents.append(json.loads(done.stdout))
    assert documents[0]["background"]["loss"] == documents[1]["background"]["loss"]
    assert documents[0]["comparison"] == documents[1]["comparison"]
