"""RepNet (Wandt and Rosenhahn, CVPR 2019): lifting learned from 2D and 3D poses that are not paired."""
