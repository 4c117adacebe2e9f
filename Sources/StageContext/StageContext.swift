// StageContext
