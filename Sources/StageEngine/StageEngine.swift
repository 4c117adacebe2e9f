// StageEngine
