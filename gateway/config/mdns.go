package config

// MDNS is how the local network hears of the gateway.
type MDNS struct {
	// Enabled announces the listeners that are reached beyond this machine.
	Enabled bool `yaml:"enabled"`
	// Name is what the gateway is called there; empty is the host's name. Where
	// another has it, a number follows.
	Name string `yaml:"name"`
}

func (m *MDNS) validate(add func(string, ...any)) { validateName(m.Name, add, "mdns", "name") }
