package command_test

import (
	"bufio"
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/headgate-io/headgate/controller/command"
	"github.com/headgate-io/headgate/controller/config"
)

// A command in a folder where no controller is says so, and makes none there.
func TestNoController(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "mistyped")
	for _, args := range [][]string{{"operator", "recover"}, {"token", "create"}, {"token", "list"}, {"token", "revoke", "x"}} {
		var said bytes.Buffer
		if code := command.Execute(t.Context(), append([]string{"--dir", dir}, args...), &said, &said); code != 1 || !strings.Contains(said.String(), "there is no controller in "+dir) {
			t.Errorf("%v: %d: %s", args, code, said.String())
		}
	}
	if _, err := os.Stat(dir); !os.IsNotExist(err) {
		t.Errorf("the folder is made: %v", err)
	}
}

// A database in a file has one controller, whichever folder or link leads to it:
// a second one is told which process holds it. Commands work beside it, and a
// killed one holds nothing.
func TestOneAtATime(t *testing.T) {
	dir, link := t.TempDir(), filepath.Join(t.TempDir(), "link")
	var said bytes.Buffer
	if code := command.Execute(t.Context(), []string{"--dir", dir, "certificate", "create", "--name", "x", "--out", t.TempDir()}, &said, &said); code != 0 {
		t.Fatal(said.String())
	}
	if err := os.Symlink(dir, link); err != nil {
		t.Fatal(err)
	}
	onLoopback(t)
	first := runApart(t, dir)
	for name, args := range map[string][]string{"the same folder": {"--dir", dir}, "a link to it": {"--dir", link}, "another with its database": {"--dir", t.TempDir()}} {
		if name == "another with its database" {
			t.Setenv(config.EnvPrefix+"DATABASE", "sqlite:"+filepath.Join(dir, "controller.db"))
		}
		said.Reset()
		want := fmt.Sprintf("held by another headgate-controller (process %d): stop it first", first.Process.Pid)
		if code := command.Execute(t.Context(), append(args, "run"), &said, &said); code != 1 || !strings.Contains(said.String(), want) {
			t.Errorf("%s: %d: %s", name, code, said.String())
		}
	}
	for _, args := range [][]string{{"token", "create"}, {"operator", "recover"}} {
		said.Reset()
		if code := command.Execute(t.Context(), append([]string{"--dir", dir}, args...), &said, &said); code != 0 {
			t.Errorf("%v beside it: %d: %s", args, code, said.String())
		}
	}
	if err := first.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	_ = first.Wait()
	if second := runApart(t, dir); second.Process.Pid == first.Process.Pid {
		t.Error("it is the same process")
	}
}

// runApart runs a controller as a process of its own until the end of the test,
// and returns when it runs.
func runApart(t *testing.T, dir string) *exec.Cmd {
	t.Helper()
	c := program(t, "--dir", dir, "run")
	out, err := c.StderrPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := c.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = c.Process.Kill()
		_ = c.Wait()
	})
	lines := bufio.NewScanner(out)
	for lines.Scan() {
		if strings.Contains(lines.Text(), "controller runs") {
			return c
		}
		t.Log(lines.Text())
	}
	t.Fatal("it does not run")
	return nil
}

// program is the command line as a process of its own.
func program(t *testing.T, args ...string) *exec.Cmd {
	c := exec.CommandContext(t.Context(), os.Args[0], args...)
	c.Env = append(os.Environ(), apart+"=1")
	return c
}

// apart has the test binary be the program.
const apart = "HEADGATE_TEST_APART"

func TestMain(m *testing.M) {
	if os.Getenv(apart) != "" {
		os.Exit(command.Execute(context.Background(), os.Args[1:], os.Stdout, os.Stderr))
	}
	os.Exit(m.Run())
}

// A broker's certificate is one that gateways trust, with a key that its owner
// alone reads; the same command renews it and leaves the key.
func TestBrokerCertificate(t *testing.T) {
	dir, out := t.TempDir(), filepath.Join(t.TempDir(), "mosquitto")
	run := func(want int, args ...string) string {
		t.Helper()
		var said bytes.Buffer
		args = append([]string{"--dir", dir, "certificate", "create"}, args...)
		if code := command.Execute(t.Context(), args, &said, &said); code != want {
			t.Fatalf("%v: %d: %s", args, code, said.String())
		}
		return said.String()
	}
	read := func(name string) []byte {
		t.Helper()
		b, err := os.ReadFile(filepath.Join(out, name))
		if err != nil {
			t.Fatal(err)
		}
		return b
	}
	if said := run(0, "--name", "mqtt.example.org", "--name", "192.0.2.7", "--out", out, "--expires", "30d"); !strings.Contains(said, "is good until") {
		t.Error(said)
	}
	key := read("broker.key")
	first := read("broker.crt")
	run(0, "--name", "mqtt.example.org", "--name", "192.0.2.7", "--out", out)
	if !bytes.Equal(key, read("broker.key")) || bytes.Equal(first, read("broker.crt")) {
		t.Error("it was not renewed with its key")
	}
	if info, err := os.Stat(filepath.Join(out, "broker.key")); err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("%v, %v", info, err)
	}
	pair, err := tls.X509KeyPair(read("broker.crt"), key)
	if err != nil {
		t.Fatal(err)
	}
	leaf, err := x509.ParseCertificate(pair.Certificate[0])
	if err != nil {
		t.Fatal(err)
	}
	roots := x509.NewCertPool()
	roots.AppendCertsFromPEM(read("ca.crt"))
	for _, name := range []string{"mqtt.example.org", "192.0.2.7"} {
		if _, err := leaf.Verify(x509.VerifyOptions{Roots: roots, DNSName: name}); err != nil {
			t.Error(err)
		}
	}
	if _, err := leaf.Verify(x509.VerifyOptions{Roots: roots, KeyUsages: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth}}); err == nil {
		t.Error("a broker's certificate is good for a gateway")
	}
	if said := run(2, "--out", out); !strings.Contains(said, "--name is missing") {
		t.Error(said)
	}
	run(2, "--name", "ssl://mqtt.example.org:8883")
	if err := os.WriteFile(filepath.Join(out, "broker.key"), []byte("x"), 0o600); err != nil {
		t.Fatal(err)
	}
	if said := run(1, "--name", "a", "--out", out); !strings.Contains(said, "move it away") {
		t.Error(said)
	}
}
