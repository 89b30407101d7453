"""The generator: source and driving image in, the source moved like the driving image out (LIA, ICLR 2022)."""
# B batch, C channels, H height, W width, S style_dim, M motion_dim

import torch
from torch import Tensor, nn

from lia_model.config import LiaConfig
from lia_model.encoder import Encoder
from lia_model.motion import MotionBasis, MotionHead, move
from lia_model.synthesis import Synthesis


class Generator(nn.Module):
    """Animates a source image. Images are float tensors in [-1,1]; the output is unbounded: clamp it.

    Every parameter gets a gradient from `generator(source, driving)`, as DDP wants it.
    """

    def __init__(self, config: LiaConfig) -> None:
        super().__init__()
        self.config = config
        self.encoder = Encoder(config)
        self.motion_head = MotionHead(config)
        self.motion_basis = MotionBasis(config)
        self.synthesis = Synthesis(config)

    def forward(self, source_B3HW: Tensor, driving_B3HW: Tensor | None = None) -> Tensor:
        """The source with the driving image's motion; without one, the source's reference image."""
        if driving_B3HW is not None:
            return self.reconstruct(source_B3HW, driving_B3HW)[0]
        return self.synthesise(*self.encode(source_B3HW))

    def reconstruct(self, source_B3HW: Tensor, driving_B3HW: Tensor) -> tuple[Tensor, Tensor]:
        """The source with the driving image's motion, and that motion as magnitudes along the directions: (B,M)."""
        appearance, features = self.encode(source_B3HW)
        # Not in one batch with the source: cutting the source's features out of it costs the backward pass more
        # than the larger convolutions save.
        magnitude_BM = self.motion(self.encode(driving_B3HW)[0])
        latent = move(appearance, magnitude_BM, self.directions())
        return self.synthesise(latent, features), magnitude_BM

    def relative(self, source_B3HW: Tensor, driving_B3HW: Tensor, driving_start_B3HW: Tensor) -> Tensor:
        """The source, moved from its own pose by the motion between driving_start and driving."""
        appearance, features = self.encode(source_B3HW)
        codes, _ = self.encode(torch.cat((driving_B3HW, driving_start_B3HW)))
        driving, start = self.motion(codes).chunk(2)
        latent = move(appearance, self.motion(appearance) + driving - start, self.directions())
        return self.synthesise(latent, features)

    def encode(self, image_B3HW: Tensor) -> tuple[Tensor, list[Tensor]]:
        """Appearance code (B,S) and features (B,C,H,W) from 8x8 to full resolution."""
        code_BS, features = self.encoder(image_B3HW)
        return code_BS, features

    def motion(self, appearance_BS: Tensor) -> Tensor:
        """Magnitudes along the motion directions: (B,M)."""
        magnitude_BM: Tensor = self.motion_head(appearance_BS)
        return magnitude_BM

    def directions(self) -> Tensor:
        """The orthonormal motion directions: (S,M)."""
        directions_SM: Tensor = self.motion_basis()
        return directions_SM

    def synthesise(self, latent_BS: Tensor, features: list[Tensor]) -> Tensor:
        """Image (B,3,H,W) of a latent code; `features` may be those of one image, shared by the batch."""
        image_B3HW: Tensor = self.synthesis(latent_BS, features)
        return image_B3HW
