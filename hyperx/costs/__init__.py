"""What computations cost: counted from programs, or by formulas from sizes alone."""

from hyperx.costs.counting import Costs, flops, of_model

__all__ = ["Costs", "flops", "of_model"]
