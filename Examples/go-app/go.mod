module example.org/stagerun/go-app

go 1.19
