"""kNN label propagation: labels of the first frame are carried through a video by feature similarity, with no training.

`knn` is the algorithm; `labels` converts masks and poses to label maps and back; `metrics` has J, F, PCK and mIoU;
`datasets` reads the official layouts; `tasks` has one file per task; `predictions` saves and draws what was predicted.
"""
