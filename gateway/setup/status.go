package setup

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"time"

	"github.com/headgate-io/headgate/internal/durable"
)

// Status is what became of the setup file.
type Status struct {
	// Applied is when one was carried out last; zero is never.
	Applied time.Time `json:"applied,omitzero"`
	// Error is what is wrong with the newest one.
	Error string `json:"error,omitempty"`
	// Controller is where the gateway shall enrol.
	Controller string `json:"controller,omitempty"`
	// AdminFingerprint is the SHA-256 of the certificate of the admin API.
	AdminFingerprint string `json:"admin_fingerprint,omitempty"`
}

// statusFile is below the system folder.
const statusFile = "setup.json"

// Status is what is kept of it.
func (b *Board) Status() (Status, error) { return LoadStatus(b.SystemDir()) }

// LoadStatus reads the status in a system folder.
func LoadStatus(systemDir string) (s Status, err error) {
	raw, err := os.ReadFile(filepath.Join(systemDir, statusFile))
	if errors.Is(err, fs.ErrNotExist) {
		return s, nil
	}
	if err != nil {
		return s, err
	}
	if err := json.Unmarshal(raw, &s); err != nil {
		return Status{Error: fmt.Sprintf("what is kept of the setup is damaged (%v)", err)}, nil
	}
	return s, nil
}

func (b *Board) saveStatus(s *Status) error {
	raw, err := json.MarshalIndent(s, "", "  ")
	return errors.Join(err, durable.Replace(filepath.Join(b.SystemDir(), statusFile), raw))
}

// note is for who puts the card into a computer again.
func (s *Status) note() string {
	text := "The setup file was carried out, and wiped because of the secrets in it.\n"
	if s.AdminFingerprint != "" {
		text += "\nThe admin API's certificate has the SHA-256 fingerprint\n" + s.AdminFingerprint +
			"\nso that a computer reaches it with\n\n  headgate context add NAME 'https://ADDRESS:7070#sha256=" + s.AdminFingerprint + "' --token TOKEN\n"
	}
	if s.Controller != "" {
		text += "\nIt enrols at " + s.Controller + " as soon as it reaches it; 'headgate doctor' shows how that is.\n"
	}
	return text
}
