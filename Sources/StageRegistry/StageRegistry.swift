// StageRegistry
