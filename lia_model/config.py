"""What shapes a LIA model has. Free of torch, so that the command line can read it at once."""

from dataclasses import dataclass

# Channels of the published model by resolution; below 64 px `channel_multiplier` leaves them alone.
_PUBLISHED_CHANNELS = {4: 512, 8: 512, 16: 512, 32: 512, 64: 256, 128: 128, 256: 64, 512: 32, 1024: 16}
_FIRST_MULTIPLIED = 64
# Channel counts stay multiples of this, which is what matrix units on GPUs and CPUs are laid out for.
_CHANNEL_STEP = 8


@dataclass(frozen=True, kw_only=True)
class LiaConfig:
    """Sizes of generator and discriminator. The defaults are the published 256 px model."""

    image_size: int = 256
    """Side of the square images in pixels; a power of two from 32 to 1024."""
    style_dim: int = 512
    """Length of the latent codes, S in the shape legends."""
    motion_dim: int = 20
    """Number of motion directions, M in the shape legends; at most `style_dim`, as they are orthogonal."""
    channel_multiplier: int = 1
    """Multiplies the channels at 64 px and above, in encoder, synthesis and discriminator alike."""
    width: float = 1.0
    """Scales the channels at every resolution; below 1 for models that train on a laptop."""

    def __post_init__(self) -> None:
        if self.image_size not in _PUBLISHED_CHANNELS or self.image_size < 32:
            raise ValueError(
                f"LiaConfig.image_size must be a power of two from 32 to 1024, got {self.image_size}"
            )
        if self.style_dim < 1:
            raise ValueError(f"LiaConfig.style_dim must be at least 1, got {self.style_dim}")
        if not 1 <= self.motion_dim <= self.style_dim:
            raise ValueError(
                f"LiaConfig.motion_dim must lie between 1 and style_dim = {self.style_dim}, got {self.motion_dim}"
            )
        if self.channel_multiplier < 1:
            raise ValueError(
                f"LiaConfig.channel_multiplier must be at least 1, got {self.channel_multiplier}"
            )
        if not 0 < self.width <= 8:
            raise ValueError(f"LiaConfig.width must be above 0 and at most 8, got {self.width}")

    def channels(self, resolution: int) -> int:
        """Feature channels at `resolution` x `resolution`: a multiple of 8, at least 8."""
        channels = _PUBLISHED_CHANNELS[resolution] * self.width
        if resolution >= _FIRST_MULTIPLIED:
            channels *= self.channel_multiplier
        return max(_CHANNEL_STEP, round(channels / _CHANNEL_STEP) * _CHANNEL_STEP)

    def resolutions(self) -> tuple[int, ...]:
        """Resolutions of the feature pyramid, coarse to fine: 8, 16, ..., image_size."""
        return tuple(1 << exponent for exponent in range(3, self.image_size.bit_length()))
