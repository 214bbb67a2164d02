"""Trained weights of retinal vessels, for torchattn_blocks.retina.load_pretrained."""
