"""Figures of scores and costs, drawn with matplotlib (extra `figures`).

    looks                                 one colour and mark per family, in every figure
    canvas                                what they all share: size, text, and SVG that can be read out
    captions                              names beside points, without one on top of another
    scores                                what there is to show of a column: the paper's numbers, and runs
    pareto, stability, noise, ablation    the figures
    profile                               the curves of `rvm-bench profile`

Each figure is a function from data to a `canvas.Drawing`, which writes SVG and PNG. `rvm-bench figure` puts them
together; `docs/figures.md` shows them.
"""
