// StageImage
