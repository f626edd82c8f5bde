"""Lifters that see neighbouring frames: VideoPose3D with its trajectory model, and the dual-stream transformer."""
