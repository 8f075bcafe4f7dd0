// Package schema holds the JSON Schema of a project's manifest, for editors:
// they complete keys, show what each means, and mark what is wrong while it is
// typed. It is made of the types of package function and their comments; what
// it cannot say, such as that a topic is well formed, the tools check.
package schema

import _ "embed"

// ID is where the schema says it is from.
const ID = "https://github.com/headgate-io/headgate/raw/main/function/schema/headgate.json"

//go:embed headgate.json
var manifest string

// Manifest returns the schema of headgate.yaml (JSON Schema draft 2020-12).
func Manifest() string { return manifest }
