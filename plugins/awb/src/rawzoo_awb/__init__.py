"""White balance by Raspberry Pi's AWB networks, a plugin of rawzoo."""
