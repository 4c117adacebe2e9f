// StageRun
