package function

import (
	"encoding/json"
	"path"
)

// Manifest is a headgate.yaml: the functions of one project.
type Manifest struct {
	Functions map[string]*Spec `yaml:"functions"`

	source source
}

// Spec is one function as its author wrote it.
type Spec struct {
	// Name is the key under functions.
	Name string `yaml:"-" json:"name"`
	// Description is one line for lists.
	Description string `yaml:"description" json:"description,omitempty"`
	// Main is the file that holds the function, relative to the manifest:
	// .js and .py run as they are, .c, .rs, .ts (AssemblyScript) and .go are compiled, .wasm is taken as built.
	Main string `yaml:"main" json:"main"`
	// Source is the author's main where Main was built from it; tools set it.
	Source string `yaml:"-" json:"source,omitempty"`
	// Compiler is CompilerTinyGo for a main in Go that TinyGo builds; empty for
	// what the language usually has.
	Compiler string `yaml:"compiler" json:"compiler,omitempty"`
	// Build is a shell command that makes Main where it is a .wasm.
	Build string `yaml:"build" json:"build,omitempty"`
	// Export is the function of an Extism plug-in that handles events; empty
	// takes the one there is.
	Export string `yaml:"export" json:"export,omitempty"`
	// Triggers start the function; without any it runs on invoke alone.
	Triggers []Trigger `yaml:"triggers" json:"triggers,omitempty"`
	// Limits bound an invocation; unset ones have the defaults.
	Limits Limits `yaml:"limits" json:"limits"`
	// Retry says what follows a failed invocation of a durable event.
	Retry Retry `yaml:"retry" json:"retry"`
	// OnFailure says who hears when an event is given up.
	OnFailure OnFailure `yaml:"on_failure" json:"on_failure,omitzero"`
	// Permissions are what it may touch.
	Permissions Permissions `yaml:"permissions" json:"permissions,omitzero"`
	// Secrets are the names of what it may ask for and nobody may see; an
	// operator sets them on the gateway.
	Secrets []string `yaml:"secrets" json:"secrets,omitempty"`
	// Config is given to the function, to be changed without its code.
	Config map[string]any `yaml:"config" json:"config,omitempty"`
}

// ConfigJSON is the configuration as JSON per key, the form that guests see.
func (s *Spec) ConfigJSON() (map[string][]byte, error) {
	out := make(map[string][]byte, len(s.Config))
	for k, v := range s.Config {
		b, err := json.Marshal(v)
		if err != nil {
			return nil, err
		}
		out[k] = b
	}
	return out, nil
}

// Language is what the function is written in, by the ending of its source:
// javascript, python, c, rust, assemblyscript, go, tinygo or wasm; empty when the ending is none of these.
func (s *Spec) Language() string {
	main := s.Main
	if s.Source != "" {
		main = s.Source
	}
	if lang := languages[path.Ext(main)]; lang != "go" || s.Compiler != CompilerTinyGo {
		return lang
	}
	return CompilerTinyGo
}

// CompilerTinyGo is what a manifest's compiler may be.
const CompilerTinyGo = "tinygo"

var languages = map[string]string{".js": "javascript", ".mjs": "javascript", ".py": "python", ".c": "c", ".rs": "rust", ".ts": "assemblyscript", ".go": "go", ".wasm": "wasm"}
