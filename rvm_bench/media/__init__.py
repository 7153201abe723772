"""Images and video: decoding, resizing, drawing, and which frames make a clip."""
