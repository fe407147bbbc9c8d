//go:build functions

// Package functions names the user functions that are built from the Go SDK as it was published: the conformance
// suite's model and its shopping cart. It exists for go.mod and go.sum only.
package functions

import (
	_ "github.com/cloudstateio/go-support/tck/cmd/tck_eventsourced"
	_ "github.com/cloudstateio/go-support/tck/cmd/tck_shoppingcart"
)
