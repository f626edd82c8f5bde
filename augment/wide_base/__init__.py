"""The base of the `default` loop: a spread of poses, views and placements as wide as the biomechanics allow."""
