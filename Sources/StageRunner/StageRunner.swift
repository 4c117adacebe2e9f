// StageRunner
