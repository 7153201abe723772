"""kNN label propagation: labels of the first frame are carried through a video by feature similarity, with no training.

`knn` is the algorithm, `labels` turns masks into label maps and back, `metrics` scores, and each task is one file.
"""
