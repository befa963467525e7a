"""Images, samples as files, and the model card."""

import numpy as np
import pytest
import torch
import yaml
from PIL import Image

from report.runs import SUMMARY
from uncollapse.report import image_grid, save_samples, write_model_card


def test_grid_places_every_pixel():
    x = torch.arange(5 * 3 * 4).reshape(5, 1, 3, 4) / 255
    grid = image_grid(x, columns=3)
    assert grid.dtype == np.uint8 and grid.shape == (2 * 4 - 1, 3 * 5 - 1)
    for n in range(5):
        row, column = divmod(n, 3)
        assert (grid[4 * row : 4 * row + 3, 5 * column : 5 * column + 4] == np.arange(12 * n, 12 * n + 12).reshape(3, 4)).all()
    assert (grid[3] == 0).all() and (grid[:, 4] == 0).all() and (grid[4:, 10:] == 0).all()


def test_grid_of_colours_keeps_the_channels_and_clips():
    x = torch.tensor([-1.0, 0.5, 7.0]).reshape(1, 3, 1, 1).expand(2, 3, 2, 2)
    assert image_grid(x).tolist()[0][0] == [0, 128, 255] and image_grid(x).shape == (2, 5, 3)


def test_grid_without_a_channel_is_the_grey_one():
    x = torch.rand(7, 6, 5)
    assert (image_grid(x) == image_grid(x.unsqueeze(1))).all() and image_grid(x).shape == (3 * 7 - 1, 3 * 6 - 1)


@pytest.mark.parametrize("shape", [(4, 2), (4, 2, 5, 5), (0, 1, 2, 2), (1, 1, 1, 2, 2)])
def test_grid_refuses_what_is_no_image(shape):
    with pytest.raises(ValueError, match="expected images"):
        image_grid(torch.zeros(shape))


def test_samples_keep_their_numbers(tmp_path):
    x = torch.rand(6, 1, 4, 4, dtype=torch.float64)
    for name in ("a.npy", "a.npz", "deep/er/a.txt", "a.PNG"):
        save_samples(tmp_path / name, x)
    assert (np.load(tmp_path / "a.npy") == x.numpy()).all() and (np.load(tmp_path / "a.npz")["samples"] == x.numpy()).all()
    assert np.allclose(np.loadtxt(tmp_path / "deep/er/a.txt"), x.reshape(6, 16), atol=1e-6)
    image, grid = np.asarray(Image.open(tmp_path / "a.PNG")), image_grid(x)
    zoom = image.shape[0] // grid.shape[0]
    assert zoom > 1 and (image[::zoom, ::zoom] == grid).all()


@pytest.mark.parametrize("shape", [(50, 2), (5, 9), (4, 3, 8, 8)])
def test_any_samples_make_a_picture(tmp_path, shape):
    save_samples(str(tmp_path / "a.png"), torch.rand(shape))
    assert np.asarray(Image.open(tmp_path / "a.png")).std() > 5


@pytest.mark.parametrize("name", ["a.jpg", "a", "a.pt"])
def test_other_endings_are_refused_before_anything_is_written(tmp_path, name):
    with pytest.raises(ValueError, match=r"expected a file that ends in .png, .npz, .npy, .txt, came 'a"):
        save_samples(tmp_path / "new" / name, torch.rand(2, 2))
    assert not list(tmp_path.iterdir())


def test_card_says_what_the_model_is_and_how_to_load_it(run):
    write_model_card(run, SUMMARY, {"prior": {"class_path": "uncollapse.distributions.Normal"}})
    text = (run / "README.md").read_text(encoding="utf-8")
    assert yaml.safe_load(text.split("---")[1])["library_name"] == "uncollapse"
    for part in (
        "**collapsed**",
        SUMMARY["reason"],
        'uc.load("digits',
        "21.35 ± 0.21 | nats",
        "free_bits 0.25",
        "class_path",
        "6.21 nats",
    ):
        assert part in text, part
    assert "uncollapse train vae --data digits --steps 300 --seed 12345" in text and str(run.parent) not in text


def test_card_of_an_unfinished_run_is_short_and_whole(tmp_path):
    write_model_card(tmp_path, {}, "seed: 1\n")
    text = (tmp_path / "README.md").read_text(encoding="utf-8")
    assert "None yet." in text and "uncollapse train config.yaml" in text and "seed: 1" in text and "variational" not in text
