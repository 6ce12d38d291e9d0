module ksync.test/pack

go 1.24
