module ksync.test/tools

go 1.24
