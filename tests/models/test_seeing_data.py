"""What the eye is trained on: colours and shapes that come apart, and labels that stay true."""

import math

import torch

from innervate.models.scenes import NAMELESS, pixel, sight
from innervate.models.seeing import CELL, GRID
from innervate.models.train_seeing import decouple


def scene() -> tuple[torch.Tensor, torch.Tensor]:
    """A grey frame with one red square of 12 pixels at column 20, row 28, and its labels, for a batch of 64."""
    frames = torch.full((64, 3, 96, 96), 0.4)
    frames[:, :, 22:34, 14:26] = torch.tensor([0.9, 0.1, 0.1])[:, None, None]
    labels = torch.zeros(64, GRID * GRID, 5)
    labels[:, :, 1:3] = NAMELESS
    pan, tilt = sight(20.0, 28.0)
    labels[:, (28 // CELL) * GRID + 20 // CELL] = torch.tensor([1.0, 0.0, 0.0, pan / 30.0, tilt / 30.0])
    return frames, labels


def test_sight_undoes_pixel() -> None:
    for place in ((0.5, 90.0), (48.0, 48.0), (70.25, 12.5)):
        assert math.dist(pixel(*sight(*place)), place) < 1e-9


def test_a_frame_names_colours_and_shapes_together_or_one_of_them_alone() -> None:
    frames, labels = scene()
    changed, marks = decouple(frames, labels, torch.Generator().manual_seed(1))
    cell = (28 // CELL) * GRID + 20 // CELL
    recoloured = marks[:, cell, 1] == NAMELESS
    assert 16 < int(recoloured.sum()) < 48
    assert bool((marks[:, cell, 2] == 0).all())  # the shape keeps its name
    assert bool((changed[recoloured][:, :, 28, 20] - torch.tensor([0.9, 0.1, 0.1])).abs().amax(1).gt(0.01).any())
    assert torch.equal(frames, scene()[0])  # what was given is as it was


def test_a_blob_has_the_colour_of_a_thing_and_no_shape() -> None:
    changed, marks = decouple(*scene(), torch.Generator().manual_seed(2))
    blobs = torch.nonzero((marks[:, :, 0] > 0) & (marks[:, :, 2] == NAMELESS))
    assert len(blobs) > 20
    for i, cell in blobs.tolist():
        assert marks[i, cell, 1] == 0
        column, row = pixel(*(marks[i, cell, 3:] * 30.0).tolist())
        assert cell == int(row // CELL) * GRID + int(column // CELL)
        red, green, _ = changed[i, :, int(row), int(column)].tolist()
        assert red > 3 * green


def test_the_same_draw_gives_the_same_frames() -> None:
    first, second = (decouple(*scene(), torch.Generator().manual_seed(3)) for _ in range(2))
    assert torch.equal(first[0], second[0]) and torch.equal(first[1], second[1])
