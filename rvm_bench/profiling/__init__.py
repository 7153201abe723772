"""What a frozen encoder costs as videos grow longer: time, memory and FLOPs against the number of frames.

    ways     how a model is given N frames: as a stream, or all at once
    worker   one point of a curve, measured in a process of its own
    memory   peak memory above model and input; limits: what a point may cost
    flops    FLOPs of a forward pass
    points   a point as data, and the file that keeps the finished ones
    curves   the points of several models, measured one after the other
    growth   exponents: what "linear" and "flat" are as numbers

`rvm-bench profile` puts them together; `docs/profile.md` shows what comes out.
"""
