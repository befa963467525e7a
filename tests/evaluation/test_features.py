"""Feature extractors; Inception-v3 without its published weights: their names and shapes, and what is said without them."""

import hashlib
import io

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from uncollapse.evaluation import FeatureNetwork, Features, Inception, Pixels, fid
from uncollapse.evaluation import features as module
from uncollapse.evaluation.features import WEIGHTS, coloured
from uncollapse.networks.inception import InceptionV3, Mixed

CONVOLUTIONS = """
Conv2d_1a_3x3 32 3 3 3
Conv2d_2a_3x3 32 32 3 3
Conv2d_2b_3x3 64 32 3 3
Conv2d_3b_1x1 80 64 1 1
Conv2d_4a_3x3 192 80 3 3
Mixed_5b.branch1x1 64 192 1 1
Mixed_5b.branch5x5_1 48 192 1 1
Mixed_5b.branch5x5_2 64 48 5 5
Mixed_5b.branch3x3dbl_1 64 192 1 1
Mixed_5b.branch3x3dbl_2 96 64 3 3
Mixed_5b.branch3x3dbl_3 96 96 3 3
Mixed_5b.branch_pool 32 192 1 1
Mixed_5c.branch1x1 64 256 1 1
Mixed_5c.branch5x5_1 48 256 1 1
Mixed_5c.branch5x5_2 64 48 5 5
Mixed_5c.branch3x3dbl_1 64 256 1 1
Mixed_5c.branch3x3dbl_2 96 64 3 3
Mixed_5c.branch3x3dbl_3 96 96 3 3
Mixed_5c.branch_pool 64 256 1 1
Mixed_5d.branch1x1 64 288 1 1
Mixed_5d.branch5x5_1 48 288 1 1
Mixed_5d.branch5x5_2 64 48 5 5
Mixed_5d.branch3x3dbl_1 64 288 1 1
Mixed_5d.branch3x3dbl_2 96 64 3 3
Mixed_5d.branch3x3dbl_3 96 96 3 3
Mixed_5d.branch_pool 64 288 1 1
Mixed_6a.branch3x3 384 288 3 3
Mixed_6a.branch3x3dbl_1 64 288 1 1
Mixed_6a.branch3x3dbl_2 96 64 3 3
Mixed_6a.branch3x3dbl_3 96 96 3 3
Mixed_6b.branch1x1 192 768 1 1
Mixed_6b.branch7x7_1 128 768 1 1
Mixed_6b.branch7x7_2 128 128 1 7
Mixed_6b.branch7x7_3 192 128 7 1
Mixed_6b.branch7x7dbl_1 128 768 1 1
Mixed_6b.branch7x7dbl_2 128 128 7 1
Mixed_6b.branch7x7dbl_3 128 128 1 7
Mixed_6b.branch7x7dbl_4 128 128 7 1
Mixed_6b.branch7x7dbl_5 192 128 1 7
Mixed_6b.branch_pool 192 768 1 1
Mixed_6c.branch1x1 192 768 1 1
Mixed_6c.branch7x7_1 160 768 1 1
Mixed_6c.branch7x7_2 160 160 1 7
Mixed_6c.branch7x7_3 192 160 7 1
Mixed_6c.branch7x7dbl_1 160 768 1 1
Mixed_6c.branch7x7dbl_2 160 160 7 1
Mixed_6c.branch7x7dbl_3 160 160 1 7
Mixed_6c.branch7x7dbl_4 160 160 7 1
Mixed_6c.branch7x7dbl_5 192 160 1 7
Mixed_6c.branch_pool 192 768 1 1
Mixed_6d.branch1x1 192 768 1 1
Mixed_6d.branch7x7_1 160 768 1 1
Mixed_6d.branch7x7_2 160 160 1 7
Mixed_6d.branch7x7_3 192 160 7 1
Mixed_6d.branch7x7dbl_1 160 768 1 1
Mixed_6d.branch7x7dbl_2 160 160 7 1
Mixed_6d.branch7x7dbl_3 160 160 1 7
Mixed_6d.branch7x7dbl_4 160 160 7 1
Mixed_6d.branch7x7dbl_5 192 160 1 7
Mixed_6d.branch_pool 192 768 1 1
Mixed_6e.branch1x1 192 768 1 1
Mixed_6e.branch7x7_1 192 768 1 1
Mixed_6e.branch7x7_2 192 192 1 7
Mixed_6e.branch7x7_3 192 192 7 1
Mixed_6e.branch7x7dbl_1 192 768 1 1
Mixed_6e.branch7x7dbl_2 192 192 7 1
Mixed_6e.branch7x7dbl_3 192 192 1 7
Mixed_6e.branch7x7dbl_4 192 192 7 1
Mixed_6e.branch7x7dbl_5 192 192 1 7
Mixed_6e.branch_pool 192 768 1 1
Mixed_7a.branch3x3_1 192 768 1 1
Mixed_7a.branch3x3_2 320 192 3 3
Mixed_7a.branch7x7x3_1 192 768 1 1
Mixed_7a.branch7x7x3_2 192 192 1 7
Mixed_7a.branch7x7x3_3 192 192 7 1
Mixed_7a.branch7x7x3_4 192 192 3 3
Mixed_7b.branch1x1 320 1280 1 1
Mixed_7b.branch3x3_1 384 1280 1 1
Mixed_7b.branch3x3_2a 384 384 1 3
Mixed_7b.branch3x3_2b 384 384 3 1
Mixed_7b.branch3x3dbl_1 448 1280 1 1
Mixed_7b.branch3x3dbl_2 384 448 3 3
Mixed_7b.branch3x3dbl_3a 384 384 1 3
Mixed_7b.branch3x3dbl_3b 384 384 3 1
Mixed_7b.branch_pool 192 1280 1 1
Mixed_7c.branch1x1 320 2048 1 1
Mixed_7c.branch3x3_1 384 2048 1 1
Mixed_7c.branch3x3_2a 384 384 1 3
Mixed_7c.branch3x3_2b 384 384 3 1
Mixed_7c.branch3x3dbl_1 448 2048 1 1
Mixed_7c.branch3x3dbl_2 384 448 3 3
Mixed_7c.branch3x3dbl_3a 384 384 1 3
Mixed_7c.branch3x3dbl_3b 384 384 3 1
Mixed_7c.branch_pool 192 2048 1 1
"""
"""Name and shape of the weight of each, as the published file has them."""


def published() -> dict[str, tuple[int, ...]]:
    """Name and shape of everything in the published file."""
    shapes: dict[str, tuple[int, ...]] = {"fc.weight": (1008, 2048), "fc.bias": (1008,)}
    for line in CONVOLUTIONS.split("\n")[1:-1]:
        name, *sizes = line.split()
        shapes[f"{name}.conv.weight"] = tuple(map(int, sizes))
        shapes |= {f"{name}.bn.{part}": (int(sizes[0]),) for part in ("weight", "bias", "running_mean", "running_var")}
    return shapes


@pytest.fixture(scope="module")
def network() -> InceptionV3:
    """With random weights that neither shrink nor blow up."""
    torch.manual_seed(0)
    found = InceptionV3().eval().requires_grad_(False)
    for part in found.modules():
        if isinstance(part, nn.Conv2d):
            nn.init.kaiming_normal_(part.weight)
    return found


@pytest.fixture
def no_weights(monkeypatch, tmp_path) -> None:
    """An empty cache, no data directory, and no network."""

    def refused(*args, **kwargs):
        raise ConnectionError("no network in tests")

    monkeypatch.setattr("pooch.retrieve", refused)
    monkeypatch.setattr("pooch.os_cache", lambda name: tmp_path / "cache")
    monkeypatch.delenv("UNCOLLAPSE_DATA", raising=False)


@pytest.fixture
def stored(monkeypatch, tmp_path, network: InceptionV3) -> InceptionV3:
    """Weights of a network in the data directory, as a pickle of the years of the published one, under a hash of their own."""
    kept = {name: value for name, value in network.state_dict().items() if not name.endswith("num_batches_tracked")}
    written = io.BytesIO()
    torch.save(kept, written, _use_new_zipfile_serialization=False)
    (tmp_path / "inception").mkdir()
    (tmp_path / "inception" / WEIGHTS.name).write_bytes(written.getvalue())
    monkeypatch.setenv("UNCOLLAPSE_DATA", str(tmp_path))
    own = hashlib.sha256(written.getvalue()).hexdigest()
    monkeypatch.setattr(module, "WEIGHTS", type(WEIGHTS)(WEIGHTS.folder, WEIGHTS.name, WEIGHTS.url, own))
    return network


# --- Inception-v3 ----------------------------------------------------------------------------------------------------
def test_names_and_shapes_are_the_published_ones(network: InceptionV3) -> None:
    found = {name: tuple(value.shape) for name, value in network.state_dict().items() if "num_batches" not in name}
    assert found == published()
    assert sum(p.numel() for p in network.parameters()) == 23_850_960


def test_sizes_along_the_way(network: InceptionV3) -> None:
    """Of table 1 of Szegedy et al.: 35, 17 and 8 pixels; 2,048 features and 1,008 classes."""
    seen: dict[str, tuple[int, ...]] = {}
    hooks = [
        part.register_forward_hook(lambda module, given, output, name=name: seen.update({name: tuple(output.shape[1:])}))
        for name, part in network.named_modules()
        if isinstance(part, Mixed)
    ]
    features = network(torch.rand(2, 3, 299, 299))
    for hook in hooks:
        hook.remove()
    assert seen["Mixed_5d"] == (288, 35, 35)
    assert seen["Mixed_6e"] == (768, 17, 17)
    assert seen["Mixed_7a"] == (1280, 8, 8) and seen["Mixed_7c"] == (2048, 8, 8)
    assert features.shape == (2, 2048) and bool((features[0] != features[1]).any())
    probabilities = network.probabilities(features)
    assert probabilities.shape == (2, 1008) and torch.allclose(probabilities.sum(1), torch.ones(2))


@pytest.mark.parametrize("name", ["Mixed_5b", "Mixed_6e", "Mixed_7b"])
def test_average_pools_leave_the_padding_out(network: InceptionV3, name: str) -> None:
    """So a constant stays one up to the border."""
    pool = network.get_submodule(name).pool
    assert torch.equal(pool(torch.ones(1, 2, 5, 5)), torch.ones(1, 2, 5, 5))


def test_the_last_block_pools_by_the_maximum(network: InceptionV3) -> None:
    point = F.pad(torch.ones(1, 1, 1, 1), (2, 2, 2, 2))
    assert float(network.Mixed_7c.pool(point).sum()) == 9
    assert float(network.Mixed_7b.pool(point).sum()) == pytest.approx(1)


def test_weights_are_read_and_described(stored: InceptionV3) -> None:
    """Of a pickle, by its names; grey images are resized and scaled to [-1, 1], chunk by chunk."""
    inception = Inception(chunk=2)
    images = torch.rand(3, 1, 28, 28)
    features = inception(images)
    assert torch.allclose(features, stored(coloured(images, 299, True)), rtol=1e-4, atol=1e-4)
    assert not features.requires_grad and not any(p.requires_grad for p in inception.parameters())
    assert inception.classes(features).shape == (3, 1008)
    said = inception.describe(features)
    assert (said.size, said.resize) == (2048, "bilinear to 299 x 299, with antialias")
    assert said.sha256 == module.WEIGHTS.sha256
    assert Inception(antialias=False).resize == "bilinear to 299 x 299, without antialias"
    assert Inception(chunk=8).configuration()["init_args"] == {"chunk": 8}


def test_another_file_is_refused(stored: InceptionV3, monkeypatch) -> None:
    """It is a pickle: its hash is looked at before it is read."""
    monkeypatch.setattr(module, "WEIGHTS", WEIGHTS)
    with pytest.raises(ValueError, match="has another hash: expected sha256 6726825d0af5"):
        Inception()


def test_without_weights_one_line_says_which_file_goes_where(no_weights, tmp_path) -> None:
    with pytest.raises(FileNotFoundError) as error:
        Inception()
    said = str(error.value)
    assert said.startswith(f"inception/pt_inception-2015-12-05-6726825d.pth is not in {tmp_path / 'cache'}, and cannot be")
    assert "github.com/mseitzer/pytorch-fid" in said and "UNCOLLAPSE_DATA can name a directory that holds it" in said
    assert "\n" not in said


def test_resizing() -> None:
    """Larger images are low-passed or not; up to 299 x 299 there is no difference."""
    small, large = torch.rand(1, 1, 28, 20), torch.rand(1, 3, 600, 600)
    grey = coloured(small, 299, True)
    assert grey.shape == (1, 3, 299, 299) and torch.equal(grey[:, 0], grey[:, 2])
    assert torch.allclose(grey, coloured(small, 299, False), atol=1e-5)
    smooth, rough = (coloured(large, 299, antialias) for antialias in (True, False))
    assert float(smooth.std()) < 0.8 * float(rough.std())
    torch.testing.assert_close(coloured(large[..., :299, :299], 299, False), large[..., :299, :299], rtol=1e-6, atol=1e-6)
    with pytest.raises(ValueError, match="1 or 3 colours, came 2"):
        coloured(torch.rand(1, 2, 8, 8), 299, True)


# --- Extractors ------------------------------------------------------------------------------------------------------
def classifier() -> nn.Sequential:
    return nn.Sequential(nn.Conv2d(1, 4, 3), nn.BatchNorm2d(4), nn.Dropout(0.5), nn.ReLU())


@pytest.mark.parametrize("chunk", [1, 4, 100])
def test_a_network_of_ones_own(chunk: int) -> None:
    """Flattened, in its own type, in eval() and back in train() afterwards, whatever the chunk."""
    own = classifier()
    images = torch.rand(10, 1, 8, 8)
    own.eval()
    expected = own(images).flatten(1)
    own.train()
    extractor = FeatureNetwork(own, "a test", chunk)
    features = extractor(images.double())
    assert features.dtype == torch.float32 and not features.requires_grad
    assert torch.allclose(features, expected, atol=1e-6)
    assert own.training and all(part.training for part in own)
    assert extractor.describe(features) == Features("a test", 144, "not resized", extractor.sha256)


def test_the_hash_is_of_the_weights() -> None:
    torch.manual_seed(0)
    own = classifier()
    extractor = FeatureNetwork(own, "a test")
    before = extractor.sha256
    assert len(before) == 64 and FeatureNetwork(own, "another name").sha256 == before
    assert extractor.sha256 == before
    with torch.no_grad():
        own[0].weight[0, 0, 0, 0] += 1e-3
    assert extractor.sha256 != before


def test_pixels() -> None:
    images = torch.rand(20, 3, 4, 4, dtype=torch.float64)
    pixels = Pixels()
    assert torch.equal(pixels(images), images.flatten(1))
    assert fid(pixels(images), pixels(images.flip(0))) == pytest.approx(0, abs=1e-6)


@pytest.mark.parametrize(
    ("images", "said"),
    [
        (torch.zeros(2, 8, 8), r"images \[N, C, H, W\]"),
        (torch.zeros(0, 1, 8, 8), r"came \(0, 1, 8, 8\)"),
        (torch.zeros(2, 1, 8, 8, dtype=torch.uint8), "divided by 255"),
        (torch.full((2, 1, 8, 8), -0.5), "from -0.5 to -0.5"),
        (torch.full((2, 1, 8, 8), 2.0), r"\[0, 1\], came values from 2 to 2"),
        (torch.full((2, 1, 8, 8), torch.nan), "came values from nan"),
    ],
)
def test_what_is_no_image_is_refused(images: Tensor, said: str) -> None:
    with pytest.raises(ValueError, match=said):
        FeatureNetwork(torch.nn.Flatten(), "flat")(images)
    with pytest.raises(ValueError, match="chunk of at least 1"):
        FeatureNetwork(classifier(), "a test", chunk=0)
