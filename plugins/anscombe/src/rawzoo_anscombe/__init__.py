"""Dirty Pixels for rawzoo: an Anscombe denoising network and MobileNet, trained as one."""
