"""Procedural videos with exact ground truth: one scene engine, and one small writer per official data layout.

A scene is a set of flat textured surfaces in three dimensions - the parts of bodies, the scenery, a ground and a wall -
seen by a moving pinhole camera. Everything about it follows from its seed and its `SceneConfig`, in closed form.

`room` shows another kind of scene, a furnished room from inside, where depth is what matters. `world` sets what is in
such a room in motion, for tracks of points.

Conventions, kept by every file of this folder:

- World and camera axes: x to the right, y down, z away from the viewer, in metres.
- Image coordinates (x, y) are in pixels, x to the right and y down, with the origin at the outer corner of the top
  left pixel: the centre of the pixel in row r and column c is (c + 0.5, r + 0.5). Boxes, joints and tracks use them.
  Layouts that put pixel centres at integers subtract 0.5 in their writer.
- Depth is the camera's z in metres, not the distance along the ray.
- Time is a frame number t; inside the engine it is tau = t / (frames - 1), so that a scene shows the same motion
  whatever its number of frames and whatever its resolution.
"""
