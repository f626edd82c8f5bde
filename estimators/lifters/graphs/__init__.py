"""Lifters on the graph of joints: SemGCN, ST-GCN, their convolutions and the graphs themselves."""
