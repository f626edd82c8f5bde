"""Training of lifters: trainers, losses, schedules of rate and BatchNorm, semi-supervised training."""
