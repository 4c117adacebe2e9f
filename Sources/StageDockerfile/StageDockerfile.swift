// StageDockerfile
