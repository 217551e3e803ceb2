"""Denoising for rawzoo: its own joint denoiser and demosaicer, and the published NAF networks."""
