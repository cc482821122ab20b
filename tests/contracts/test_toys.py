"""A method, a network, a loss and an augmentation of somebody else: one file each, and nothing else is touched.

The files are written into a temporary folder that joins the package's, with what a file must define and no more; each
is planned, trained, evaluated, exported and reported through the command line.
"""

import importlib
import json
import sys
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path
from textwrap import dedent

import pytest
import torch
import yaml

from selfmae import plugins
from selfmae.cli import main
from selfmae.data.generated.sets import write_volumes
from selfmae.recipe import load_recipe
from selfmae.weights.file import read_metadata

TOYS = {
    "methods/toy.py": '''
        """Tell the mean intensity of a crop, with our Vision Transformer."""

        from dataclasses import dataclass

        from selfmae.methods import Objective, options_of
        from selfmae.options import Section, number
        from selfmae.seeds import generator

        YIELDS = "weights"
        SUBJECT, ORIGIN = "pre-training on means", "with pre-training on means"
        PROBED = False


        @dataclass(frozen=True)
        class Options(Section):
            """How the means are weighted."""

            weight: float = number(1.0, above=0)


        def can_pretrain(network, num_axes):
            return "" if network.ENCODER == "vit" else "pre-trains a Vision Transformer"


        def plan(plan, facts):
            plan.put("toy.weight", 2.0, f"for {facts.num_images} images")


        def objective(recipe, store):
            from torch import nn

            from selfmae.data.sampling import draw_unlabelled
            from selfmae.models.vit import Encoder

            class Means(nn.Module):
                def __init__(self):
                    super().__init__()
                    channels = len(recipe.data.channels)
                    self.encoder = Encoder(recipe.model, channels, recipe.data.crop, learn_positions=False)
                    self.head = nn.Linear(recipe.model.width, 1)

                def forward(self, images):
                    return self.head(self.encoder(images).tokens.mean(1))[:, 0]

            def sample(draw):
                rng = generator(draw.seed, "sample")
                return {"image": draw_unlabelled(store, draw.case, recipe.pretrain.augment, rng)}

            def loss(model, batch):
                means = batch["image"].flatten(1).mean(1)
                return options_of(recipe, "toy").weight * (model(batch["image"]).float() - means).square().mean()

            return Objective(Means, sample, loss)


        def describe(settings):
            return f"to tell the mean intensity of a crop (weight {settings.get('toy.weight', 1):g})"
    ''',
    "networks/toynet.py": '''
        """One 1x1 convolution, for masks."""

        TARGETS = ("mask",)
        HALVINGS = 0


        def problems(recipe):
            if len(recipe.data.crop) == 2:
                yield "model.network toynet is for volumes"


        def build(recipe):
            from torch import nn

            class ToyNet(nn.Module):
                def __init__(self):
                    super().__init__()
                    self.only = nn.Conv3d(len(recipe.data.channels), recipe.target.num_outputs, 1)

                def forward(self, images, drop_path_scale=None):
                    return self.only(images)

            return ToyNet()
    ''',
    "losses/toyloss.py": '''
        """The squared error of probabilities."""

        TARGETS = ("mask",)
        WORDS = "the squared error of probabilities"
        CALLS = []


        def make(recipe):
            from torch.nn.functional import one_hot

            def loss(logits, target):
                CALLS.append(float(logits.detach().mean()))
                shares = logits.softmax(1)
                truth = one_hot(target[:, 0], logits.shape[1]).movedim(-1, 1)
                return (shares - truth).square().mean()

            return loss
    ''',
    "augment/toynoise.py": '''
        """White noise."""

        from dataclasses import dataclass

        import numpy as np

        from selfmae.options import Section, number

        WHEN = "normalised"
        CALLS = []


        @dataclass(frozen=True)
        class Options(Section):
            """How much of it."""

            strength: float = number(0.0, at_least=0)  # its deviation


        def problems(stage, options, recipe):
            if options.strength > 5:
                yield f"{stage}.augment.toynoise.strength {options.strength} drowns the image"


        def apply(image, options, data, rng):
            if not options.strength:
                return image
            CALLS.append(options.strength)
            return image + rng.normal(0, options.strength, image.shape).astype(np.float32)
    ''',
}
SMALL = {
    "model.network": "unetr",
    "data.crop": [16, 16, 16],
    "model.patch": [8, 8, 8],
    "model.width": 48,
    "model.depth": 2,
    "model.heads": 2,
    "model.decoder_features": 4,
    "model.class_token": False,  # which MONAI's ViT has in classifiers only
    "pretrain.steps": 3,
    "pretrain.batch": 2,
    "fit.steps": 3,
    "fit.batch": 2,
    "fit.validate_every": 2,
}
OTHERS = {"fit.loss": "toyloss", "fit.augment.toynoise.strength": 0.1, "pretrain.augment.toynoise.strength": 0.2}
with_onnx = pytest.mark.skipif(
    not (find_spec("onnx") and find_spec("onnxscript")), reason='onnx is not installed: pip install "selfmae[onnx]"'
)
CELL = Path("fold0", "seed0")


def sets(**values: object) -> list[str]:
    return [word for key, value in (SMALL | values).items() for word in ("--set", f"{key}={value}")]


def call(*words: object) -> int:
    with pytest.raises(SystemExit) as end:
        main([str(word) for word in words])
    return int(end.value.code or 0)


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """Return a folder for all of these tests, in which the toys are and their package's folders begin."""
    folder = tmp_path_factory.mktemp("toys")
    torch.set_num_threads(1)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("XDG_CACHE_HOME", str(folder / "cache"))
        for place, text in TOYS.items():
            path = folder / "package" / place
            path.parent.mkdir(parents=True)
            path.write_text(dedent(text).lstrip())
            package = importlib.import_module(f"selfmae.{path.parent.name}")
            patch.setattr(package, "__path__", [*package.__path__, str(path.parent)])
        importlib.invalidate_caches()
        yield folder
        for place in TOYS:
            package_name, name = place.removesuffix(".py").split("/")
            if sys.modules.pop(f"selfmae.{package_name}.{name}", None):
                delattr(importlib.import_module(f"selfmae.{package_name}"), name)


@pytest.fixture(scope="module")
def volumes(shared: Path) -> Path:
    write_volumes(shared / "volumes", 9, 0, (16, 16, 16), num_unlabelled=2)
    return shared / "volumes"


@pytest.fixture(scope="module")
def toy_run(shared: Path, volumes: Path) -> Path:
    """Return a run of the toy method beside scratch, both with the toy loss and the toy augmentation."""
    assert call("run", volumes, "--out", shared / "run", "--init", "scratch,toy", "--seeds", 1, *sets(**OTHERS)) == 0
    return shared / "run"


@pytest.fixture(scope="module")
def network_run(shared: Path, volumes: Path) -> Path:
    """Return a run of the toy network."""
    words = sets(**{"model.network": "toynet"})
    assert call("run", volumes, "--out", shared / "network", "--init", "scratch", "--seeds", 1, *words) == 0
    return shared / "network"


@pytest.fixture(scope="module")
def report(toy_run: Path) -> str:
    return (toy_run / "report.html").read_text()


@pytest.fixture(scope="module")
def network_report(network_run: Path) -> str:
    return (network_run / "report.html").read_text()


@pytest.mark.parametrize("place", TOYS)
def test_a_file_is_found_by_itself(shared: Path, place: str) -> None:
    folder, name = place.removesuffix(".py").split("/")
    assert name in plugins.names(folder)
    assert plugins.load(folder, name).__file__ == str(shared / "package" / place)


def test_a_plan_shows_and_writes_the_keys_of_all(
    shared: Path, volumes: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert call("plan", volumes, "--out", shared / "planned.yaml", *sets(**OTHERS)) == 0
    shown = capsys.readouterr().out
    assert "toy.weight" in shown
    assert "for 8 images" in shown
    text = (shared / "planned.yaml").read_text()
    assert "  weight: 2.0  # for 8 images" in text
    content = yaml.safe_load(text)
    assert content["toy"] == {"weight": 2.0}
    assert content["fit"]["loss"] == "toyloss"
    assert content["fit"]["augment"]["toynoise"] == {"strength": 0.1}
    assert content["pretrain"]["augment"]["toynoise"] == {"strength": 0.2}
    recipe = load_recipe(str(shared / "planned.yaml"))
    assert recipe.methods["toy"].weight == 2


def test_a_plan_for_the_network_names_it(shared: Path, volumes: Path) -> None:
    assert call("plan", volumes, "--out", shared / "network.yaml", *sets(**{"model.network": "toynet"})) == 0
    content = yaml.safe_load((shared / "network.yaml").read_text())
    assert content["model"]["network"] == "toynet"


@pytest.mark.parametrize(
    ("setting", "expected"),
    [
        ("toy.weight=0", "toy.weight is 0.0, but must be above 0"),
        ("toy.weigth=2", "unknown key 'toy.weigth'. Did you mean 'toy.weight'?"),
        ("fit.augment.toynoise.strength=-1", "fit.augment.toynoise.strength is -1.0, but must be at least 0"),
        ("fit.augment.toynoise.strength=6", "fit.augment.toynoise.strength 6.0 drowns the image"),
        ("fit.loss=toylos", "fit.loss is 'toylos', but must be one of binary_cross_entropy"),
        ("model.network=toynett", "key 'model.network' has the value 'toynett'. Did you mean 'toynet'?"),
    ],
)
def test_a_wrong_value_of_a_toy_is_a_sentence(
    volumes: Path, setting: str, expected: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert call("plan", volumes, *sets(), "--set", setting) == 2
    assert expected in " ".join(capsys.readouterr().err.split())


def test_the_method_is_trained_evaluated_and_compared(toy_run: Path) -> None:
    assert json.loads((toy_run / "pretrain-toy" / CELL / "environment.json").read_text())["method"] == "toy"
    metadata = read_metadata(toy_run / "pretrain-toy" / CELL / "model.safetensors")
    assert (metadata["kind"], metadata["method"], metadata["architecture"]["head"]) == ("pretrain", "toy", "toy")
    assert metadata["recipe"]["toy"] == {"weight": 2.0}
    assert json.loads((toy_run / "toy" / CELL / "summary-test.json").read_text())["num_cases"] > 0
    verdict = json.loads((toy_run / "verdict.json").read_text())
    assert set(verdict["inits"]) == {"scratch", "toy"}
    assert [(pair["a"], pair["b"]) for pair in verdict["pairs"]] == [("scratch", "toy")]
    assert read_metadata(toy_run / "toy" / CELL / "model.safetensors")["init"] == "toy"


def test_loss_and_augmentation_are_called(toy_run: Path) -> None:
    assert len(plugins.load("losses", "toyloss").CALLS) >= 6  # steps of two fine-tunings
    assert set(plugins.load("augment", "toynoise").CALLS) == {0.1, 0.2}
    assert toy_run.is_dir()


def test_the_network_is_trained_and_evaluated(network_run: Path) -> None:
    metadata = read_metadata(network_run / "scratch" / CELL / "model.safetensors")
    assert metadata["architecture"]["network"] == "toynet"
    assert metadata["recipe"]["model"]["network"] == "toynet"
    assert metadata["metrics"]["test"]
    assert json.loads((network_run / "scratch" / CELL / "summary-test.json").read_text())["num_cases"] > 0
    num_outputs = 1 + len(metadata["target"]["names"])
    told = json.loads((network_run / "scratch" / CELL / "environment.json").read_text())
    assert told["num_parameters"] == 2 * num_outputs  # a factor and a summand of one channel


def test_no_method_pretrains_the_network_and_the_sentence_names_each(
    shared: Path, volumes: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = sets(**{"model.network": "toynet"})
    assert call("run", volumes, "--out", shared / "none", "--init", "toy", *words) == 2
    error = " ".join(capsys.readouterr().err.split())
    assert "--init toy: toy pre-trains a Vision Transformer, but model.network is toynet" in error


def test_the_method_pretrains_alone_and_its_encoder_is_an_initialization(shared: Path, toy_run: Path) -> None:
    recipe, out = toy_run / "recipe.yaml", shared / "alone"
    assert call("pretrain", recipe, "--method", "toy", "--out", out) == 0
    assert call("finetune", recipe, "--init", f"toy:{out}", "--out", shared / "tuned") == 0
    told = json.loads((shared / "tuned" / "environment.json").read_text())["init"]
    assert (told["kind"], told["name"]) == ("toy", f"toy:{out}")
    assert told["loaded"] > 10


def test_values_of_the_method_are_swept(shared: Path, toy_run: Path) -> None:
    words = ("--init", "scratch,toy", "--out", shared / "sweep")
    assert call("sweep", toy_run / "recipe.yaml", *words, "toy.weight=1,3") == 0
    losses = {path.read_text() for path in (shared / "sweep").rglob("pretrain-toy/fold0/seed0/steps.jsonl")}
    assert len(losses) == 2
    trained = {path.stat().st_ino for path in (shared / "sweep").rglob("scratch/fold0/seed0/model.safetensors")}
    assert len(trained) == 1  # no value of the method concerns it


@with_onnx
def test_a_model_after_the_method_is_exported(toy_run: Path, tmp_path: Path) -> None:
    assert call("export", toy_run / "pretrain-toy" / CELL, "--to", "monai", "--out", tmp_path / "encoder.pt") == 0
    assert json.loads((tmp_path / "encoder.pt.json").read_text())["metadata"]["method"] == "toy"
    assert call("export", toy_run / "toy" / CELL, "--to", "onnx", "--out", tmp_path / "model.onnx") == 0
    described = json.loads((tmp_path / "model.onnx.json").read_text())
    assert described["metadata"]["init"] == "toy"
    assert described["metadata"]["recipe"]["fit"]["loss"] == "toyloss"
    assert described["metadata"]["recipe"]["fit"]["augment"]["toynoise"] == {"strength": 0.1}


@with_onnx
def test_the_network_is_exported(network_run: Path, tmp_path: Path) -> None:
    assert call("export", network_run / "scratch" / CELL, "--to", "onnx", "--out", tmp_path / "model.onnx") == 0
    described = json.loads((tmp_path / "model.onnx.json").read_text())
    assert described["metadata"]["architecture"]["network"] == "toynet"


def test_the_report_names_the_method_and_how_it_trains(report: str) -> None:
    assert "to tell the mean intensity of a crop (weight 2)" in report
    assert "toy.weight" in report


def test_the_report_names_the_loss_and_the_augmentation(report: str) -> None:
    assert "fit.loss" in report
    assert "toyloss" in report
    assert "fit.augment.toynoise.strength" in report


def test_the_report_names_the_network(network_report: str) -> None:
    assert "toynet" in network_report


def test_sentences_speak_of_the_method_as_it_says(report: str) -> None:
    assert "pre-training on means" in report


def test_the_methods_paragraph_has_the_words_of_the_loss(report: str) -> None:
    assert "the squared error of probabilities" in report
    assert "Dice and cross-entropy loss" not in report


def test_the_methods_paragraph_does_not_take_the_network_for_the_vit(network_report: str) -> None:
    assert "The network is toynet" in network_report
    assert "vision transformer" not in network_report
