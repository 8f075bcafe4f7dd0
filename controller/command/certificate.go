package command

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"os"
	"path/filepath"
	"time"

	"github.com/spf13/cobra"

	"github.com/headgate-io/headgate/controller"
	"github.com/headgate-io/headgate/controller/config"
	"github.com/headgate-io/headgate/internal/durable"
)

// brokerLife is how long a broker's certificate is good, unless somebody says
// otherwise: who renews it is a person.
const brokerLife = 365 * 24 * time.Hour

func (a *app) certificateCommand() *cobra.Command {
	c := &cobra.Command{Use: "certificate", Short: "Make certificates that gateways trust"}
	var names []string
	out, life := ".", brokerLife
	create := &cobra.Command{
		Use: "create", Short: "Make the certificate of a broker beside the controller",
		Long: `Make a certificate, signed by the controller's authority, for an MQTT broker
that stands in the place of the embedded one: gateways trust no other.

It writes ca.crt, broker.crt and broker.key to --out. The key is made there and
is readable by its owner alone; where one is already it stays, and gets another
certificate: so the same command renews.`,
		Example: "  headgate-controller certificate create --name mqtt.example.org --out /etc/mosquitto/headgate",
		RunE: func(cmd *cobra.Command, _ []string) error {
			if len(names) == 0 {
				return usageError{errors.New("--name is missing: by which name or address do gateways reach the broker?")}
			}
			for _, n := range names {
				if net.ParseIP(n) == nil && !config.ValidHost(n) {
					return usageError{fmt.Errorf("--name %s: want a host's name or an address, without scheme and port", n)}
				}
			}
			return a.base(cmd.Context(), func(b *controller.Base) error { return a.broker(b, names, life, out) })
		},
	}
	create.Flags().StringArrayVar(&names, "name", nil, "a name or address of the broker; may be repeated")
	create.Flags().Var((*days)(&life), "expires", "how long it is good, as 90d")
	create.Flags().StringVar(&out, "out", out, "the folder that the files are written to")
	c.AddCommand(create)
	return c
}

// broker writes a broker's certificate and what belongs to it.
func (a *app) broker(b *controller.Base, names []string, life time.Duration, dir string) error {
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return fmt.Errorf("--out: %w", err)
	}
	public, err := keyIn(filepath.Join(dir, "broker.key"))
	if err != nil {
		return err
	}
	issued, err := b.Authority.Broker(names, life, public)
	if err != nil {
		return err
	}
	for name, content := range map[string][]byte{"ca.crt": b.Authority.PEM(), "broker.crt": issued.Chain} {
		file := filepath.Join(dir, name)
		if err := durable.Replace(file, content); err != nil {
			return fmt.Errorf("--out: %w", err)
		}
		if err := os.Chmod(file, 0o644); err != nil {
			return fmt.Errorf("--out: %w", err)
		}
	}
	fmt.Fprintf(a.out, "%s is good until %s; the broker reads it, %s and %s\n",
		filepath.Join(dir, "broker.crt"), issued.Expires.UTC().Format(time.DateOnly), filepath.Join(dir, "broker.key"), filepath.Join(dir, "ca.crt"))
	return nil
}

// keyIn returns the public half of the key in a file, which it makes where there
// is none.
func keyIn(file string) (*ecdsa.PublicKey, error) {
	raw, err := os.ReadFile(file)
	if errors.Is(err, fs.ErrNotExist) {
		key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
		if err != nil {
			return nil, err
		}
		der, err := x509.MarshalPKCS8PrivateKey(key)
		if err != nil {
			return nil, err
		}
		if err := durable.Replace(file, pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: der})); err != nil {
			return nil, fmt.Errorf("--out: %w", err)
		}
		return &key.PublicKey, nil
	}
	if err != nil {
		return nil, fmt.Errorf("--out: %w", err)
	}
	block, _ := pem.Decode(raw)
	if block == nil {
		return nil, fmt.Errorf("%s holds no key in PEM: move it away, and another is made", file)
	}
	parsed, err := x509.ParsePKCS8PrivateKey(block.Bytes)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", file, err)
	}
	key, ok := parsed.(*ecdsa.PrivateKey)
	if !ok {
		return nil, fmt.Errorf("%s holds no ECDSA key: move it away, and another is made", file)
	}
	return &key.PublicKey, nil
}
