"""Pictures of what frozen encoders make of a video, and the one measure that goes with them.

    pca, clusters    features as colours, the same from frame to frame and from model to model (paper Figs. 5, 7-12)
    noise_square     a stimulus that single frames do not show, `separation` how well clusters find it (paper Fig. 6)
    masks            propagated masks beside the true ones (paper Fig. 13)
    reconstruction   masked frames as RVM decodes them
    panels, films    captioned pictures side by side, as a strip or a film

`rvm-bench viz` puts them together; `docs/viz.md` has its commands.
"""
