module camera

go 1.24

// headgate builds with its own SDK in place of this version.
require github.com/headgate-io/headgate v0.0.0
