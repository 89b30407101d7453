import pytest
import torch

from lia_model.animation import animate, walk_directions
from lia_model.motion import move


@pytest.fixture
def source():
    torch.manual_seed(2)
    return torch.rand(1, 3, 32, 32, dtype=torch.float64) * 2 - 1


@pytest.fixture
def frames():
    torch.manual_seed(3)
    return list(torch.rand(5, 3, 32, 32, dtype=torch.float64) * 2 - 1)


@pytest.mark.parametrize("batch_size", [1, 2, 5, 8])
def test_absolute_equals_calls_frame_by_frame(toy, source, frames, batch_size):
    made = list(animate(toy, source, iter(frames), "absolute", batch_size))
    assert len(made) == 5
    for image, frame in zip(made, frames, strict=True):
        torch.testing.assert_close(image, toy(source, frame[None])[0])


@pytest.mark.parametrize("batch_size", [1, 2, 8])
def test_relative_equals_calls_frame_by_frame(toy, source, frames, batch_size):
    made = list(animate(toy, source, iter(frames), "relative", batch_size))
    for image, frame in zip(made, frames, strict=True):
        torch.testing.assert_close(image, toy.relative(source, frame[None], frames[0][None])[0])


def test_movement_can_be_taken_since_any_frame(toy, source, frames):
    made = list(animate(toy, source, iter(frames), "relative", 2, start_3HW=frames[3]))
    for image, frame in zip(made, frames, strict=True):
        torch.testing.assert_close(image, toy.relative(source, frame[None], frames[3][None])[0])


def test_source_is_encoded_once_and_frames_in_batches(toy, source, frames):
    sizes = []
    toy.encoder.register_forward_hook(lambda module, inputs, output: sizes.append(len(inputs[0])))
    list(animate(toy, source, frames, "relative", batch_size=2))
    assert sizes == [1, 2, 2, 1]


def test_frames_are_drawn_a_batch_at_a_time(toy, source, frames):
    drawn = []
    images = animate(toy, source, (drawn.append(i) or frame for i, frame in enumerate(frames)), batch_size=2)
    next(images)
    assert drawn == [0, 1]


def test_no_frames_no_images(toy, source):
    assert list(animate(toy, source, [])) == []


def test_images_carry_no_graph_and_the_callers_grad_mode_is_kept(toy, source, frames):
    images = animate(toy, source, frames)
    assert not next(images).requires_grad
    assert torch.is_grad_enabled()


@pytest.mark.parametrize(
    ("options", "message"),
    [({"mode": "sideways"}, "mode must be"), ({"batch_size": 0}, "batch_size must be at least 1, got 0")],
)
def test_refuses(toy, source, frames, options, message):
    with pytest.raises(ValueError, match=message):
        next(animate(toy, source, frames, **options))


def test_walk_along_each_direction(toy, source):
    walks = list(walk_directions(toy, source, [-3.0, 0.0, 3.0], batch_size=2))
    assert len(walks) == toy.config.motion_dim
    appearance, features = toy.encode(source)
    own = toy.motion(appearance)
    for direction, walk in enumerate(walks):
        assert walk.shape == (3, 3, 32, 32)
        torch.testing.assert_close(walk[1], toy(source, source)[0])
        own_moved = own.clone()
        own_moved[:, direction] += 3
        expected = toy.synthesise(move(appearance, own_moved, toy.directions()), features)
        torch.testing.assert_close(walk[2], expected[0])
