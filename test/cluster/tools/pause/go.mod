module github.com/peppasync/peppasync/test/cluster/tools/pause

go 1.26.0
