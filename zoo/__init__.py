"""GAN definitions: networks, objectives, regularizers, augmentations and training steps."""
