"""Every command: help with an example, JSON on request, results and progress apart, exit codes."""

import json
import signal
import subprocess
import sys

import pytest
import typer.main
from cli.shell import PROFILE, SEARCH, TRAIN

from hwnas.cli.commands import app


def commands():
    """Every command by its words."""

    def walk(command, words):
        if hasattr(command, "commands"):
            for name, below in command.commands.items():
                yield from walk(below, (*words, name))
        else:
            yield words, command

    return dict(walk(typer.main.get_command(app), ()))


ALL = commands()


def test_the_commands_are_those_that_are_promised():
    promised = ["devices", "space", "data", "train", "profile", "lut", "predict", "explain", "predictor", "search"]
    promised += [
        "export",
        "run",
        "demo",
        "report",
        "compare",
        "accelerator",
        "toolchain",
        "deploy",
        "subset",
        "proxies",
    ]
    promised += ["tune", "runtimes"]
    assert sorted({words[0] for words in ALL}) == sorted(promised)


@pytest.mark.parametrize("words", ALL, ids=" ".join)
def test_help_has_an_example_and_every_command_speaks_json(chain, words):
    ran = chain(*words, "--help")
    assert ran.code == 0
    assert ran.err == ""
    assert f"Example: hwnas {' '.join(words)}" in " ".join(ran.out.split())
    assert "--json" in ran.out


@pytest.mark.parametrize("words", ALL, ids=" ".join)
def test_the_example_names_only_options_there_are(words):
    typed = ALL[words].epilog.partition("hwnas ")[2].split()
    known = {option for parameter in ALL[words].params for option in parameter.opts}
    assert {word for word in typed if word.startswith("--")} <= known


@pytest.mark.parametrize("group", [(), *sorted({words[:1] for words in ALL if len(words) > 1})], ids=" ".join)
def test_no_line_of_a_list_of_commands_is_cut_off(chain, group):
    listed = chain(*group, "--help").out.partition("Commands:")[2].splitlines()
    assert len(listed) > 1
    assert [line for line in listed if line.endswith("...")] == []


@pytest.mark.parametrize("words", ALL, ids=" ".join)
def test_what_is_on_by_default_can_be_turned_off(words):
    on = [parameter for parameter in ALL[words].params if parameter.default is True]
    assert all(parameter.secondary_opts for parameter in on), on


def test_results_go_to_stdout_and_progress_to_stderr(shell):
    ran = shell(*TRAIN, "--out", "again.pt", "--json")
    assert ran.json["updates"] == 30
    assert "training: 100 %" in ran.err
    ran = shell(*PROFILE, "--rounds", "3", "--out", "x86.lut.jsonl", "--json")
    assert ran.json["operators"] > 20
    assert "exporting: 100 %" in ran.err
    ran = shell(*SEARCH, "--out", "search", "--no-measure", "--json")
    assert ran.json["winner"]["loss"] == min(finalist["loss"] for finalist in ran.json["finalists"])
    assert "searching" in ran.err


def test_commands_that_only_look_say_nothing_on_stderr(chain):
    for command in (
        ("devices", "list"),
        ("devices", "validate"),
        ("space", "list"),
        ("space", "show", "tiny.yaml"),
        ("space", "count", "search/winner.yml", "--space", "tiny.yaml"),
        ("lut", "show", "x86.lut.jsonl", "--space", "tiny.yaml"),
        ("predict", "search/winner.yml", "--space", "tiny.yaml", "--table", "x86.lut.jsonl", "--explain"),
    ):
        for extra in ((), ("--json",)):
            ran = chain(*command, *extra)
            assert (ran.code, ran.err) == (0, "")
            assert ran.out
        assert ran.json


def test_a_shown_prediction_is_the_sum_of_its_parts(chain):
    (entry,) = chain(
        "predict", "search/winner.yml", "--space", "tiny.yaml", "--table", "x86.lut.jsonl", "--explain", "--json"
    ).json
    assert sum(entry["operators_ms"].values()) == pytest.approx(entry["latency_ms"])


def test_a_sample_can_be_written_counted_and_predicted(shell):
    ran = shell("space", "sample", "tiny.yaml", "--count", "2", "--out", "one.yml", "--json")
    assert len(ran.json) == 2
    hat = shell("space", "sample", "tiny.yaml", "--hat", "--out", "hat.yml")
    assert hat.code == 0
    for file in ("one.yml", "hat.yml"):
        assert shell("predict", file, "--space", "tiny.yaml", "--table", "x86.lut.jsonl").code == 0
        assert shell("space", "count", file, "--space", "tiny.yaml", "--json").json["params_m"] > 0
        assert " 0.00 " not in shell("space", "count", file, "--space", "tiny.yaml").out


def test_a_dry_run_measures_nothing(shell):
    ran = shell(*PROFILE, "--out", "dry/x86.lut.jsonl", "--dry-run", "--json")
    assert ran.json["operators"] > 20
    assert not (shell.folder / "dry").exists()


@pytest.mark.slow
def test_a_check_measures_fresh_models_and_tests_an_older_table_on_them(shell):
    ran = shell(
        "lut", "check", "--space", "tiny.yaml", "--models", "4", "--calibration", "4", "--rounds", "3",
        "--against", "x86.lut.jsonl", "--out", "check.jsonl", "--json",
    )  # fmt: skip
    assert ran.json["models"] == 8
    for report in (ran.json["check"], ran.json["against"]):
        assert 0 < report["mape"] <= report["worst"]
    assert ran.json["check"] != ran.json["against"]
    at_its_level = ran.json["against_at_its_level"]
    assert at_its_level["spearman"] == ran.json["against"]["spearman"]
    assert 1 + at_its_level["bias"] == pytest.approx((1 + ran.json["against"]["bias"]) * ran.json["slower"], rel=1e-3)


def test_an_added_device_is_listed(shell):
    assert shell("devices", "add", "two", "--threads", "2", "--json").json["name"] == "two"
    listed = shell("devices", "list", "--json").json["devices"]
    assert [(device["name"], device["threads"], device["clock"]) for device in listed] == [
        ("x86", 1, "thread_cpu"),
        ("two", 2, "wall"),
    ]


def test_a_bundle_answers_arguments_and_standard_input(bundle, chain):
    asked = chain("run", "bundle", "bado", "same")
    assert (asked.code, asked.err) == (0, "")
    piped = chain("run", "bundle", stdin="bado\nsame\n")
    assert (piped.code, piped.out) == (0, asked.out)
    answers = chain("run", "bundle", "bado", "same", "--json").json
    assert [answer["output"] for answer in answers] == asked.out.splitlines()


def test_a_bundle_is_exported_for_the_workload_that_is_asked(shell):
    command = ("export", "search/winner.yml", "--space", "tiny.yaml", "--supernet", "supernet.pt", "--decoded", "3")
    asked = ("--beam", "2", "--batch", "2", "--target-tokens", "4")
    manifest = shell(*command, *asked, "--out", "wide", "--json").json
    wanted = {"batch": 2, "beam": 2, "source_tokens": 6, "target_tokens": 4, "vocabulary": 13, "cache": 1}
    assert manifest["workload"] == wanted
    assert manifest["decoding"]["beam"] == 2
    assert manifest["proof"]["decoding"]["different"] == 0
    assert shell("run", "wide", "bado").code == 0
    line = shell(*command, "--table", "x86.lut.jsonl", "--beam", "2", "--out", "new").only_line
    assert "beam is 1 there, 2 asked" in line


def test_a_bundle_that_breaks_its_limit_is_made_and_says_so(shell):
    command = ("export", "search/winner.yml", "--space", "tiny.yaml", "--supernet", "supernet.pt", "--decoded", "3")
    ran = shell(*command, "--latency-ms", "1e-6", "--out", "late")
    assert (ran.code, "BROKEN" in ran.out) == (3, True)
    assert shell("run", "late", "bado").code == 0


@pytest.mark.parametrize("option", ["--threads", "--seed"])
def test_threads_and_seeds_are_not_negative(shell, option):
    for command in (TRAIN, SEARCH):
        ran = shell(*command, option, "-1", "--out", "new")
        assert (ran.code, ran.out) == (2, "")
        assert option in ran.err


def test_a_search_scores_with_as_many_threads_as_it_is_told(shell):
    """As many on every machine: a sum in another order may rank two candidates otherwise."""
    import torch

    for threads in (2, 1):
        more = () if threads == 1 else ("--threads", threads)
        assert shell(*SEARCH, *more, "--no-measure", "--out", f"by-{threads}").code == 0
        assert torch.get_num_threads() == threads


@pytest.mark.parametrize("words", [("--help",), ("search", "--help"), ("--version",), ("nosuch",)], ids=" ".join)
def test_help_loads_no_heavy_library(words):
    program = (
        "import sys\nfrom hwnas.cli import main\n"
        "try:\n    main()\nexcept SystemExit:\n    pass\n"
        "print(sorted({'numpy', 'yaml', 'scipy', 'torch', 'onnx', 'onnxruntime'} & set(sys.modules)))"
    )
    ran = subprocess.run([sys.executable, "-c", program, *words], capture_output=True, text=True, check=True)
    assert ran.stdout.splitlines()[-1] == "[]"


def test_usage_errors_exit_with_2(chain):
    for wrong in (("nosuch",), ("search",), ("train", "--nosuch"), ("lut", "show"), ("space", "nosuch")):
        ran = chain(*wrong)
        assert (ran.code, ran.out) == (2, "")
        assert ran.err.startswith("Usage: ")


def test_partly_done_exits_with_3(bundle, chain):
    ran = chain("run", "bundle", "bado", "zz9")
    assert ran.code == 3
    assert len(ran.out.splitlines()) == len(ran.err.splitlines()) == 1


def test_debug_shows_where_an_error_came_from(chain):
    ran = chain("--debug", "space", "show", "nosuch")
    assert ran.code == 1
    assert "Traceback" in ran.err
    assert "Traceback" not in chain("space", "show", "nosuch").err


def test_a_closed_pipe_is_no_error_worth_a_word(chain):
    process = chain.start("space", "show", "hat_wmt14_ende", "--json")
    process.stdout.close()
    assert process.stderr.read() == ""
    process.wait()
    process.stderr.close()


def test_ctrl_c_while_input_is_awaited_exits_with_130(bundle, chain):
    process = subprocess.Popen(
        [sys.executable, "-m", "hwnas", "run", str(bundle)],
        env={**chain.environment},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    process.stdin.write("bado\n")
    process.stdin.flush()
    assert process.stdout.readline()
    process.send_signal(signal.SIGINT)
    _, err = process.communicate(timeout=60)
    assert process.returncode == 130
    assert len(err.splitlines()) == 1


def test_ctrl_c_is_answered_while_the_first_modules_are_imported():
    program = """
import sys

class Impatient:
    def find_spec(self, name, *_):
        if name == "typer":
            raise KeyboardInterrupt

sys.meta_path.insert(0, Impatient())
from hwnas.cli import main
main()
"""
    ran = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False)
    assert (ran.returncode, ran.stdout, ran.stderr) == (130, "", "hwnas: interrupted\n")


def test_the_json_of_a_search_names_its_winner_in_winner_yml(chain):
    import yaml

    written = json.loads((chain.folder / "search" / "search.json").read_text())
    winner = yaml.safe_load((chain.folder / "search" / "winner.yml").read_text())
    assert winner["choices"] == written["winner"]["candidate"]
