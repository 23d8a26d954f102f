"""Checkpoints of timm: plain ViTs are converted, all others are computed by timm itself."""
