package gateway_test

import (
	"crypto/ecdsa"
	"crypto/hpke"
	"crypto/tls"
	"crypto/x509"
	"encoding/hex"
	"encoding/json"
	"encoding/pem"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	paho "github.com/eclipse/paho.mqtt.golang"

	"github.com/headgate-io/headgate/internal/testca"
	"github.com/headgate-io/headgate/internal/testmosquitto"
	"github.com/headgate-io/headgate/sync/ota"
	"github.com/headgate-io/headgate/sync/wire"
)

const memberID = "abcdefghijklmnop"

// cloud is a controller that a test plays: it takes all usage, and tells the
// gateway what it wants whenever the gateway says that it follows something
// older.
type cloud struct {
	testing.TB
	broker *testmosquitto.Broker
	ca     *testca.Authority
	codec  *wire.Codec
	client paho.Client
	member tls.Certificate

	mu      sync.Mutex // guards what follows
	desired *wire.Desired
	last    *wire.Reported
	hello   *wire.Hello
	answers chan *wire.Answer
	values  chan *wire.Telemetry
}

// newCloud starts one, and makes the gateway with its state in dir a member.
func newCloud(tb testing.TB, dir string) *cloud {
	tb.Helper()
	c := &cloud{TB: tb, ca: testca.New(tb), answers: make(chan *wire.Answer, 100), values: make(chan *wire.Telemetry, 100)}
	files := tb.TempDir()
	ca := filepath.Join(files, "ca.crt")
	c.ca.WriteCA(ca)
	crt, key := c.ca.Write(files, "broker", c.ca.Issue("broker"))
	c.broker = testmosquitto.Start(tb, "cafile "+ca, "certfile "+crt, "keyfile "+key, "require_certificate true", "use_identity_as_username true", "allow_anonymous false")
	c.member = c.ca.Issue(memberID)
	c.enrol(dir, ca)
	var err error
	if c.codec, err = wire.NewCodec(); err != nil {
		tb.Fatal(err)
	}
	c.listen()
	return c
}

// enrol writes down what an enrolment does.
func (c *cloud) enrol(dir, caFile string) {
	c.Helper()
	ca, err := os.ReadFile(caFile)
	if err != nil {
		c.Fatal(err)
	}
	key, err := x509.MarshalPKCS8PrivateKey(c.member.PrivateKey)
	if err != nil {
		c.Fatal(err)
	}
	raw, err := json.Marshal(map[string]any{
		"url": "https://127.0.0.1:1", "gateway": memberID, "name": "gw", "tenant": "t", "key": key, "ca": string(ca), "mqtt": []string{"ssl://" + c.broker.Address},
		"certificate": string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: c.member.Certificate[0]})),
	})
	if err == nil {
		err = os.WriteFile(filepath.Join(dir, "enrolment.json"), raw, 0o600)
	}
	if err != nil {
		c.Fatal(err)
	}
}

func (c *cloud) listen() {
	c.Helper()
	o := paho.NewClientOptions().AddBroker("ssl://" + c.broker.Address).SetClientID("controller").SetAutoReconnect(false).
		SetTLSConfig(&tls.Config{MinVersion: tls.VersionTLS12, RootCAs: c.ca.Pool(), Certificates: []tls.Certificate{c.ca.Issue("controller")}})
	c.client = paho.NewClient(o)
	for _, do := range []func() paho.Token{c.client.Connect, func() paho.Token { return c.client.Subscribe(wire.AllUp, 1, c.hear) }} {
		if t := do(); !t.WaitTimeout(30*time.Second) || t.Error() != nil {
			c.Fatal(t.Error())
		}
	}
	c.Cleanup(func() { c.client.Disconnect(0) })
}

func (c *cloud) hear(_ paho.Client, m paho.Message) {
	message, err := c.codec.Decode(m.Payload())
	if err != nil {
		c.Error(err)
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	var revision uint64
	switch m := message.(type) {
	case *wire.Hello:
		c.hello = m
		c.sendLocked(&wire.Welcome{Session: m.Session, Time: time.Now().UnixMicro()})
		revision = m.Revision
	case *wire.Usage:
		c.sendLocked(&wire.Ack{Marks: []wire.Mark{{Stream: m.Stream, UpTo: m.Seq}}})
		return
	case *wire.Reported:
		c.last, revision = m, m.Revision
	case *wire.Answer:
		c.answers <- m
		return
	case *wire.Telemetry:
		c.values <- m
		return
	default:
		return
	}
	if c.desired != nil && revision < c.desired.Revision {
		c.sendLocked(c.desired)
	}
}

// sendLocked does not wait: it is called where messages come in.
func (c *cloud) sendLocked(message any) {
	b, err := c.codec.Encode(message)
	if err != nil {
		c.Error(err)
		return
	}
	c.client.Publish(wire.DownTopic(memberID), 1, false, b)
}

func (c *cloud) send(message any) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.sendLocked(message)
}

// want has the gateway told of another desired state.
func (c *cloud) want(d wire.Desired) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.desired = &d
	c.sendLocked(&d)
}

// given is a function's target, as a controller gives it.
func given(t ota.Target, attempt string) wire.DesiredFunction {
	sum, _ := hex.DecodeString(t.SHA256)
	return wire.DesiredFunction{Name: t.Function, Target: t.Name, SHA256: sum, Attempt: attempt}
}

// until waits for a report.
func (c *cloud) until(what string, ok func(r *wire.Reported) bool) *wire.Reported {
	c.Helper()
	var last wire.Reported
	for deadline := time.Now().Add(time.Minute); time.Now().Before(deadline); time.Sleep(10 * time.Millisecond) {
		c.mu.Lock()
		if c.last != nil {
			last = *c.last
		}
		c.mu.Unlock()
		if ok(&last) {
			return &last
		}
	}
	c.Fatalf("not reported: %s; %+v", what, last)
	return nil
}

// function is one of a report.
func function1(r *wire.Reported, name string) *wire.ReportedFunction {
	for i := range r.Functions {
		if r.Functions[i].Name == name {
			return &r.Functions[i]
		}
	}
	return &wire.ReportedFunction{}
}

// reaches waits until an attempt of count is at a stage.
func (c *cloud) reaches(r *rig, attempt, stage string) *wire.ReportedFunction {
	c.Helper()
	stop := make(chan struct{})
	var group sync.WaitGroup
	defer group.Wait()
	defer close(stop)
	group.Go(func() { r.flow(stop) })
	return function1(c.until("attempt "+attempt+" "+stage, func(m *wire.Reported) bool {
		f := function1(m, "count")
		return f.Attempt == attempt && f.Stage == stage
	}), "count")
}

// sealed is a secret for the gateway.
func (c *cloud) sealed(name, value string, revision uint64) wire.SealedSecret {
	c.Helper()
	s := wire.SealedSecret{Function: "count", Name: name, Revision: revision}
	key, err := c.member.PrivateKey.(*ecdsa.PrivateKey).PublicKey.ECDH()
	if err != nil {
		c.Fatal(err)
	}
	to, err := hpke.NewDHKEMPublicKey(key)
	if err != nil {
		c.Fatal(err)
	}
	s.Sealed, err = hpke.Seal(to, hpke.HKDFSHA256(), hpke.AES256GCM(), wire.SecretInfo(memberID, s.Function, s.Name), []byte(value))
	if err != nil {
		c.Fatal(err)
	}
	return s
}

func hasAll(text string, parts ...string) bool {
	for _, p := range parts {
		if !strings.Contains(text, p) {
			return false
		}
	}
	return true
}
