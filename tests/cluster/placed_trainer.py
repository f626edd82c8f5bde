"""A trainer that tells where it was placed; a module, because Ray's workers import it."""

from tests.cluster.loop_members import PatientTrainer


class PlacedTrainer(PatientTrainer):
    """Its weights are the id of its node."""

    def weights(self) -> str:
        import ray

        return ray.get_runtime_context().get_node_id()


def placed_trainer() -> PlacedTrainer:
    return PlacedTrainer()
