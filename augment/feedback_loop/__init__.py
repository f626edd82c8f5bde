"""posemill's own augmentor: the wide base, steered by the estimator's errors, refined by a learned augmentor."""
