"""`examine` an encoder: is it wired right? Shapes, repeatability, alignment in space and time, weights, cost.

for verdict in examine(load_encoder("rvm-tiny", weights="random")):
    print(verdict.level, verdict.check, verdict.measured)
"""

from rvm_bench.doctor.examine import BUDGET_S, CHECKS, NAME_WIDTH, examine
from rvm_bench.doctor.verdict import Level, Verdict

__all__ = ["BUDGET_S", "CHECKS", "NAME_WIDTH", "Level", "Verdict", "examine"]
