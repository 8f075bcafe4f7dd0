// Package enrol makes the gateway a member of a controller's fleet, and keeps it
// one: it exchanges a token for a certificate, renews that, and remembers both
// over power cuts. The key is made here and never leaves.
package enrol

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"encoding/base64"
	"encoding/json"
	"encoding/pem"
	"errors"
	"fmt"
	"io/fs"
	"net/url"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"time"

	"github.com/headgate-io/headgate/internal/durable"
)

// State is what a gateway knows of its membership. It is one file, so that a
// power cut leaves all of the old one or all of the new.
type State struct {
	// URL is the controller's.
	URL string `json:"url"`
	// Gateway is the id that the controller gave, Name what people call it.
	Gateway string `json:"gateway"`
	Name    string `json:"name"`
	Tenant  string `json:"tenant"`
	// Key is in PKCS #8, Certificate with its chain and CA in PEM.
	Key         []byte `json:"key"`
	Certificate string `json:"certificate"`
	CA          string `json:"ca"`
	// MQTT are the broker's addresses, Content is where functions come from, and
	// Root is the fleet's TUF root as it was at enrolment.
	MQTT     []string  `json:"mqtt"`
	Content  string    `json:"content"`
	Root     []byte    `json:"root,omitempty"`
	Enrolled time.Time `json:"enrolled"`
	Renewed  time.Time `json:"renewed"`

	key  *ecdsa.PrivateKey
	pair tls.Certificate
	pool *x509.CertPool
}

// Pending is an enrolment that was begun.
type Pending struct {
	URL     string `json:"url"`
	Token   string `json:"token"`
	Name    string `json:"name,omitempty"`
	Replace string `json:"replace,omitempty"`
	// Key is the one to enrol with: the same with the same token, so that an
	// answer that was lost costs no use of the token.
	Key []byte `json:"key,omitempty"`
	// Retry is one that goes on by itself until it succeeds or is refused.
	Retry bool `json:"retry,omitempty"`
}

const (
	stateFile   = "enrolment.json"
	pendingFile = "enrolment.pending.json"
)

// Load reads the state of a gateway; nil is one that is not enrolled.
func Load(stateDir string) (*State, error) {
	path := filepath.Join(stateDir, stateFile)
	raw, err := os.ReadFile(path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	s := new(State)
	if err == nil {
		err = json.Unmarshal(raw, s)
	}
	if err == nil {
		err = s.parse()
	}
	if err != nil {
		return nil, fmt.Errorf("%s: %w: put a copy back, or remove it and enrol again", path, err)
	}
	return s, nil
}

func (s *State) save(stateDir string) error {
	raw, err := json.Marshal(s)
	if err != nil {
		return err
	}
	return durable.Replace(filepath.Join(stateDir, stateFile), append(raw, '\n'))
}

func loadPending(stateDir string) (*Pending, error) {
	raw, err := os.ReadFile(filepath.Join(stateDir, pendingFile))
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	p := new(Pending)
	if err == nil {
		err = json.Unmarshal(raw, p)
	}
	if err != nil {
		return nil, fmt.Errorf("%s: %w: remove it, and enrol again", filepath.Join(stateDir, pendingFile), err)
	}
	return p, nil
}

func (p *Pending) save(stateDir string) error {
	raw, err := json.Marshal(p)
	if err != nil {
		return err
	}
	return durable.Replace(filepath.Join(stateDir, pendingFile), append(raw, '\n'))
}

func removePending(stateDir string) error {
	err := os.Remove(filepath.Join(stateDir, pendingFile))
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	return durable.SyncFolder(stateDir)
}

// validID is what a controller calls a gateway.
var validID = regexp.MustCompile(`^[a-z0-9]{16,32}$`)

// parse checks what was read or answered, whole.
func (s *State) parse() (err error) {
	if !validID.MatchString(s.Gateway) {
		return fmt.Errorf("%q is no gateway's id", s.Gateway)
	}
	if s.key, err = parseKey(s.Key); err != nil {
		return err
	}
	s.pool = x509.NewCertPool()
	if !s.pool.AppendCertsFromPEM([]byte(s.CA)) {
		return errors.New("the controller's CA is no certificate in PEM")
	}
	if s.pair, err = pairOf(s.Certificate, s.key); err != nil {
		return err
	}
	if cn := s.pair.Leaf.Subject.CommonName; cn != s.Gateway {
		return fmt.Errorf("the certificate is for %q, not for %s", cn, s.Gateway)
	}
	if len(s.MQTT) == 0 {
		return errors.New("the controller named no broker")
	}
	for _, a := range s.MQTT {
		if u, err := url.Parse(a); err != nil || u.Scheme != "ssl" || u.Port() == "" {
			return fmt.Errorf("the controller named a broker %q, which is not ssl://host:port", a)
		}
	}
	return nil
}

// Expires is the end of the certificate; it is renewed after two thirds of its
// time.
func (s *State) Expires() time.Time { return s.pair.Leaf.NotAfter }

func (s *State) due() time.Time {
	from, to := s.pair.Leaf.NotBefore, s.pair.Leaf.NotAfter
	return from.Add(to.Sub(from) / 3 * 2)
}

func newKey() ([]byte, error) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, err
	}
	return x509.MarshalPKCS8PrivateKey(key)
}

func parseKey(der []byte) (*ecdsa.PrivateKey, error) {
	k, err := x509.ParsePKCS8PrivateKey(der)
	if err != nil {
		return nil, fmt.Errorf("key: %w", err)
	}
	key, ok := k.(*ecdsa.PrivateKey)
	if !ok || key.Curve != elliptic.P256() {
		return nil, errors.New("key: want ECDSA on P-256")
	}
	return key, nil
}

// pairOf puts a chain in PEM and the key that it is for together.
func pairOf(chain string, key *ecdsa.PrivateKey) (pair tls.Certificate, err error) {
	for rest := []byte(chain); ; {
		var block *pem.Block
		if block, rest = pem.Decode(rest); block == nil {
			break
		}
		pair.Certificate = append(pair.Certificate, block.Bytes)
	}
	if len(pair.Certificate) == 0 {
		return pair, errors.New("the answer holds no certificate")
	}
	if pair.Leaf, err = x509.ParseCertificate(pair.Certificate[0]); err != nil {
		return pair, err
	}
	if public, ok := pair.Leaf.PublicKey.(*ecdsa.PublicKey); !ok || !public.Equal(&key.PublicKey) {
		return pair, errors.New("the certificate is for another key")
	}
	pair.PrivateKey = key
	return pair, nil
}

// fingerprintOf takes the fingerprint of the controller's CA out of a token:
// hge_SECRET_FINGERPRINT.
func fingerprintOf(token string) (sum [sha256.Size]byte, err error) {
	bad := errors.New("this is no enrolment token: one looks like hge_…_…, and is printed by 'headgate fleet token create'")
	if strings.HasPrefix(token, "hgc_") {
		bad = errors.New("this is a token of a person, for 'headgate fleet login': a gateway's begins with hge_, and is printed by 'headgate fleet token create'")
	}
	rest, ok := strings.CutPrefix(token, "hge_")
	_, print, cut := strings.Cut(rest, "_")
	if !ok || !cut {
		return sum, bad
	}
	raw, err := base64.RawURLEncoding.DecodeString(print)
	if err != nil || len(raw) != len(sum) {
		return sum, bad
	}
	copy(sum[:], raw)
	return sum, nil
}
