"""What is learned: encoders, dynamics, objectives, the learner, the dream."""

from robossl.world.config import WorldConfig
from robossl.world.learner import WorldLearner
from robossl.world.model import WorldModel

__all__ = ["WorldConfig", "WorldLearner", "WorldModel"]
