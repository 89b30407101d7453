"""The Latent Image Animator in plain PyTorch: networks, losses, image metrics, animation and weights."""
