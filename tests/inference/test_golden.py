"""The golden picture: a model that says something else of it never answers anybody."""

from __future__ import annotations

from pathlib import Path

import pytest

from hardtack.core.errors import ConfigError, ModelError
from hardtack.inference import golden, ondisk, writing
from hardtack.inference.model import open_model
from tests.inference.conftest import MODELS, Place
from tests.inference.test_server import serving
from tests.support.commands import run

SEVEN = MODELS / "digit-7.png"


def with_golden(directory: Path, answer: str, *more: str) -> Path:
    (directory / "golden.png").write_bytes(SEVEN.read_bytes())
    toml = directory / "model.toml"
    text = writing.golden("multiclass", directory / "golden.png", answer)
    toml.write_text(toml.read_text() + text + "".join(f"{line}\n" for line in more))
    return directory


def test_a_model_that_sees_what_the_picture_shows_passes(place: Place) -> None:
    directory = with_golden(place("digit"), "7", "confidence = 1.0", "tolerance = 0.05")
    golden.check(open_model(directory))
    done = run("model", "check", directory)
    assert done.returncode == 0, done.stdout
    assert "7" in done.stdout


@pytest.mark.parametrize(
    ("answer", "more", "said"),
    [
        ("1", [], "expected '1', it says '7'"),
        ("7", ["confidence = 0.2"], r"expected a confidence of 0\.200 ± 0\.1, it has"),
    ],
)
def test_a_model_that_says_something_else_is_refused(
    place: Place, answer: str, more: list[str], said: str
) -> None:
    directory = with_golden(place("digit"), answer, *more)
    with pytest.raises(ModelError, match=said):
        golden.check(open_model(directory))
    assert run("model", "check", directory).returncode == 1
    with serving(directory) as server:
        assert server.ask("GET", "/health/ready").status == 503
        assert "golden.png" in server.ask("GET", "/health/live").json["reason"]
        assert server.ask("POST", "/infer", SEVEN.read_bytes()).status == 503


def test_told_to_it_ends_with_its_error_as_the_last_words(place: Place) -> None:
    directory = with_golden(place("digit"), "1")
    done = run("inference", "serve", "--model", directory, "--port", "0", "--fail-fast")
    assert done.returncode == ModelError.exit_code
    assert "expected '1', it says '7'" in done.stderr.splitlines()[-1]


def test_a_version_whose_picture_is_missing_or_harmed_is_not_whole(place: Place) -> None:
    directory = with_golden(place("digit"), "7")
    (directory / "golden.png").write_bytes(SEVEN.read_bytes()[:-1] + b"x")
    with pytest.raises(ModelError, match=r"golden\.png has SHA-256"):
        ondisk.open_package(directory)
    (directory / "golden.png").unlink()
    with pytest.raises(ModelError, match=r"golden\.png: No such file"):
        ondisk.open_package(directory, hashes=False)


@pytest.mark.parametrize(
    ("answer", "said"), [('"ten"', "is 'ten'"), ("7", "must be str")]
)  # fmt: skip
def test_an_answer_that_can_not_be_is_named(place: Place, answer: str, said: str) -> None:
    directory = with_golden(place("digit"), "7")
    toml = directory / "model.toml"
    toml.write_text(toml.read_text().replace('answer = "7"', f"answer = {answer}"))
    with pytest.raises(ModelError, match=rf"golden\.answer {said}"):
        ondisk.read(directory)


def test_new_writes_one(tmp_path: Path) -> None:
    words = [f"--class={n}" for n in range(10)]
    done = run(
        "model", "new", MODELS / "digit/model.onnx", "--to", tmp_path / "1", "--task", "multiclass",
        *words, "--golden", SEVEN, "--answer", "7",
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    found = ondisk.open_package(tmp_path / "1")
    assert found.golden is not None and found.golden.answer == "7"
    assert found.golden.picture.file == SEVEN.name
    with pytest.raises(ConfigError, match="is no number"):
        writing.golden("count", SEVEN, "many")


def test_a_package_for_another_program_has_no_network(tmp_path: Path) -> None:
    (tmp_path / "w").write_bytes(b"abc")
    text = 'format = 1\ntask = "text"\nruntime = "command"\n[[weights]]\nfile = "w"\nsize = 3\n'
    (tmp_path / "model.toml").write_text(text)
    assert ondisk.open_package(tmp_path).network is None
    with pytest.raises(ModelError, match="served by another program"):
        open_model(tmp_path)
