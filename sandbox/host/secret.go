package host

import (
	"bytes"
	"slices"
	"strings"

	"github.com/headgate-io/headgate/function"
	"github.com/headgate-io/headgate/sandbox/abi"
)

// readSecret is a secret that the guest has read in this invocation.
type readSecret struct {
	name  string
	value []byte
}

// Secret answers secret. A rerun of the same event hears what the first run
// heard, though the secret has been set anew meanwhile.
func (c *Calls) Secret(name []byte) ([]byte, abi.Errno) {
	if e := c.checkName("secret", name); e != 0 {
		return nil, e
	}
	if !slices.Contains(c.grant.secretNames, string(name)) {
		return nil, c.refuse(abi.Denied, "secret %s: the manifest does not declare it: add it to secrets", name)
	}
	for _, s := range c.secrets {
		if s.name == string(name) {
			return s.value, 0
		}
	}
	if c.grant.secrets == nil {
		return nil, c.refuse(abi.Unavailable, "secret %s: there are no secrets here", name)
	}
	value, found, err := c.grant.secrets.Secret(string(name))
	switch {
	case err != nil:
		return nil, c.refuse(abi.Unavailable, "secret %s: %v", name, err)
	case !found:
		c.Log(function.Warn, "secret "+string(name)+" is not set: 'headgate secret set "+c.grant.name+" "+string(name)+"' sets it")
		return nil, c.refuse(abi.NotFound, "secret %s: not set", name)
	}
	c.secrets = append(c.secrets, readSecret{string(name), value})
	return value, 0
}

// SecretsRead calls yield with the name of every secret that the guest has
// read, and how long its value is.
func (c *Calls) SecretsRead(yield func(name string, length int)) {
	for _, s := range c.secrets {
		yield(s.name, len(s.value))
	}
}

// forgetSecrets wipes what was read.
func (c *Calls) forgetSecrets() {
	for i := range c.secrets {
		clear(c.secrets[i].value)
	}
	clear(c.secrets)
	c.secrets = c.secrets[:0]
}

// MinRedacted is the shortest value that is looked for: shorter ones are in
// everything.
const MinRedacted = 4

// Redact takes the secrets that the guest has read out of what people will see,
// its log and its errors. It is there for mistakes: a guest that wants to give
// a secret away can write it in another form.
func (c *Calls) Redact(text string) string {
	for _, s := range c.secrets {
		if len(s.value) >= MinRedacted && strings.Contains(text, string(s.value)) {
			text = strings.ReplaceAll(text, string(s.value), "[secret "+s.name+"]")
		}
	}
	return text
}

// redactBytes is Redact before a line is cut, so that no half of a secret is
// left at its end.
func (c *Calls) redactBytes(text []byte) []byte {
	for _, s := range c.secrets {
		if len(s.value) >= MinRedacted && bytes.Contains(text, s.value) {
			text = bytes.ReplaceAll(text, s.value, []byte("[secret "+s.name+"]"))
		}
	}
	return text
}
