"""What a training sees: sources of video, clips at a frame rate, augmentation, masks, and the loader."""
