"""PyNET, a learned camera ISP, as a plugin of rawzoo."""
