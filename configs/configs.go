// Package configs embeds the annotated example files, so that the binary can
// print them and the tests can hold them to the code.
package configs

import _ "embed"

// Gateway is the annotated gateway configuration; its values are the defaults.
//
//go:embed gateway.yaml
var Gateway string
