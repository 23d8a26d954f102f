"""What a study answers, in sentences: headline, conclusions, backbones, gaps between splits."""
