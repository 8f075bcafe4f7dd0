package simulate

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	mrand "math/rand/v2"
	"net/http"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/headgate-io/headgate/controller/api"
	"github.com/headgate-io/headgate/controller/client"
	"github.com/headgate-io/headgate/sync/uplink"
	"github.com/headgate-io/headgate/sync/usage"
	"github.com/headgate-io/headgate/sync/wire"
)

// version is what simulated gateways say they are.
const version = "simulated"

// gateway is one of the fleet.
type gateway struct {
	fleet  *Fleet
	number int

	key     *ecdsa.PrivateKey
	member  api.Enrolled
	pair    tls.Certificate
	roots   *x509.CertPool
	outbox  *outbox
	uplink  *uplink.Uplink
	ready   atomic.Bool // all above is there
	started time.Time
}

// enrol makes a key and takes a certificate for it.
func (g *gateway) enrol(ctx context.Context) (err error) {
	if g.key, err = ecdsa.GenerateKey(elliptic.P256(), rand.Reader); err != nil {
		return err
	}
	csr, err := x509.CreateCertificateRequest(rand.Reader, &x509.CertificateRequest{}, g.key)
	if err != nil {
		return err
	}
	c, err := client.New(g.fleet.cfg.Controller, g.fleet.cfg.Token)
	if err != nil {
		return err
	}
	defer c.Close()
	hardware := rand.Text()
	err = c.Do(ctx, http.MethodPost, "/v1/enroll", api.Enrol{
		Token: g.fleet.cfg.Token, CSR: string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE REQUEST", Bytes: csr})),
		Hardware: hardware, Name: fmt.Sprintf("simulated-%s-%05d", strings.ToLower(hardware[:8]), g.number), Version: version, Arch: "arm64",
	}, &g.member)
	if err != nil {
		return err
	}
	return g.admit(hardware)
}

// admit takes what the controller answered into use.
func (g *gateway) admit(hardware string) (err error) {
	key, err := x509.MarshalECPrivateKey(g.key)
	if err != nil {
		return err
	}
	g.pair, err = tls.X509KeyPair([]byte(g.member.Certificate), pem.EncodeToMemory(&pem.Block{Type: "EC PRIVATE KEY", Bytes: key}))
	if err != nil {
		return fmt.Errorf("the controller's answer: %w", err)
	}
	g.roots = x509.NewCertPool()
	if !g.roots.AppendCertsFromPEM([]byte(g.member.CA)) {
		return errors.New("the controller's answer has no authority")
	}
	g.outbox = newOutbox(g.fleet, usage.Stream{Gateway: g.member.Gateway, Hardware: hardware, Epoch: 1})
	g.uplink, err = uplink.New(uplink.Config{
		Outbox: g.outbox, Credentials: g.credentials, Version: version, Arch: "arm64",
		// It is told when to report, so that the fleet does it together.
		Interval: 1000 * time.Hour, Metered: g.fleet.cfg.Metered, KeepAlive: g.fleet.cfg.KeepAlive, RepeatReport: g.fleet.cfg.RepeatReport, RetryMin: g.fleet.cfg.Retry, AnswerWithin: g.fleet.cfg.AnswerWithin,
		Health: g.health, Reported: g.reported, Start: 1, Logger: g.fleet.cfg.Logger,
	})
	g.ready.Store(err == nil)
	return err
}

func (g *gateway) credentials() (uplink.Credentials, error) {
	return uplink.Credentials{
		Gateway: g.member.Gateway, Addresses: g.member.MQTT, Key: g.key,
		TLS: func(host string) *tls.Config {
			return &tls.Config{MinVersion: tls.VersionTLS13, ServerName: host, RootCAs: g.roots, Certificates: []tls.Certificate{g.pair}}
		},
	}, nil
}

func (g *gateway) health() wire.Health {
	now := time.Now()
	return wire.Health{
		Time: now.UnixMicro(), Uptime: int64(now.Sub(g.started) / time.Second), MemoryBytes: 40 << 20, DiskFree: 20 << 30,
		Waiting: int64(g.outbox.waiting()), Functions: g.fleet.cfg.Functions,
	}
}

// reported says that all functions run as they were deployed.
func (g *gateway) reported() *wire.Reported {
	out := &wire.Reported{Time: time.Now().UnixMicro(), System: wire.ReportedSystem{Version: version, SHA256: make([]byte, 32)}}
	for i := range g.fleet.cfg.Deployed {
		name := functionName(i)
		out.Functions = append(out.Functions, wire.ReportedFunction{Name: name, Version: 1, Digest: make([]byte, 32)})
	}
	return out
}

// run connects somewhere in the jitter, and reports every interval from that
// moment on.
func (g *gateway) run(ctx context.Context) {
	f := g.fleet
	if !f.sleep(ctx, mrand.N(f.cfg.Jitter+1)) {
		return
	}
	g.started = time.Now()
	var reporting sync.WaitGroup
	reporting.Go(func() {
		for n := time.Duration(1); ; n++ {
			// Counted from the start, so that it does not drift.
			if !f.sleep(ctx, time.Until(g.started.Add(n*f.cfg.Interval))) {
				return
			}
			g.uplink.Send()
		}
	})
	g.uplink.Run(ctx)
	reporting.Wait()
}
