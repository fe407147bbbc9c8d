module cart-go

go 1.13

require github.com/cloudstateio/go-support v0.3.0
