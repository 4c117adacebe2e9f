// StageStore
